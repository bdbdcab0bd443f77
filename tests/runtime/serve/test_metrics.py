"""A snapshot as OpenMetrics, and what examples/monitoring make of its names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from runtime.serve.test_tally import POINTERS
from tng_runtime.counts import BOUNDS, Asked, Counts
from tng_runtime.kernel.rules import RulesState
from tng_runtime.manifest import Attest, Cgroups, Entry, Manifest, Service, Verify
from tng_runtime.serve import metrics
from tng_runtime.serve.report import Standing, snapshot
from tng_runtime.serve.tally import Sums, judge_tally, tallies

MONITORING = Path(__file__).parents[3] / "examples" / "monitoring"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
NAME = re.compile(r"\btng_[a-z_]+\b")
# What OpenMetrics appends to a family's name.
SUFFIXES = ("_total", "_bucket", "_count", "_sum", "_info")


def manifest() -> Manifest:
    service = Service("http://127.0.0.1:8081/", (("Authorization", "a secret"),))
    attest = Attest("background_check", "/run/aa.sock", 600, None, ())
    verify = Verify("background_check", service, ("default",), (), False, None, None)
    entries = (
        Entry(POINTERS[0], "ingress", 15001, 565, ("ipv4",), None, verify),
        Entry(POINTERS[1], "egress", 16001, 565, ("ipv4",), attest, None),
    )
    return Manifest("0.1.0", "ab" * 32, "", "", "tng", (), "tng_guard", Cgroups((), ()), entries)


def standing(**changed: Any) -> Standing:
    counters = {"ingress_0_captured": 5, "ingress_0_rejected": 2, "direct_to_listener": 1}
    known: dict[str, Any] = {
        "since": NOW - timedelta(hours=1),
        "pending": [],
        "stopping": False,
        "wanted": 2,
        "workers": [11, 12],
        "judge": 13,
        "rules": RulesState(True, True, (), 0, {"tng": counters, "tng_guard": {"ingress_0_rejected": 3}}),
        "pid": 10,
        "namespace": 4026531840,
    }
    return Standing(**(known | changed))


def sums(left: timedelta = timedelta(minutes=10)) -> Sums:
    made, counts, asked = Sums(2), Counts(), Asked()
    of = counts.of(POINTERS[0])
    of.accepted, of.opened, of.open, of.sent, of.received = 9, 6, 2, 100, 50
    of.ended["plain_eof"], of.refused["NET-DIAL"] = 4, 3
    of.handshakes.add(0.02)
    of.verdicts.given, of.verdicts.kept = 4, 2
    of.verdicts.waited.add(0.3)
    for tally in tallies(counts, POINTERS, {}):
        made.told(1, tally)
    asked.tell(0.004, answered=True)
    made.judged(2, judge_tally(1, (NOW + left, None), 0, asked, Asked()))
    made.lost(1, 8)
    return made


def values(said: dict[str, Any]) -> dict[tuple[str, frozenset[str]], float]:
    """By name and values of the labels."""
    families = text_string_to_metric_families(metrics.render(said).decode())  # type: ignore[no-untyped-call]
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_what_was_counted_is_exported_by_entry() -> None:
    found = values(snapshot(manifest(), sums(), standing(), NOW))
    entry, egress = frozenset((POINTERS[0], "ingress")), frozenset((POINTERS[1], "egress"))
    assert found["tng_tcp_connections_accepted_total", entry] == 9
    assert found["tng_tcp_connections_open", entry] == 2
    assert found["tng_tcp_sent_bytes_total", entry] == 100
    assert found["tng_tcp_connections_closed_total", entry | {"plain_eof"}] == 4
    assert found["tng_tcp_connections_refused_total", entry | {"NET-DIAL"}] == 3
    assert found["tng_handshake_duration_seconds_bucket", entry | {"0.01"}] == 0
    assert found["tng_handshake_duration_seconds_bucket", entry | {"0.025"}] == 1
    assert found["tng_handshake_duration_seconds_bucket", entry | {"+Inf"}] == 1
    assert found["tng_handshake_duration_seconds_sum", entry] == 0.02
    assert found["tng_verdicts_total", entry | {"kept"}] == 2
    assert found["tng_certificate_expiry_seconds", egress] == 600
    assert found["tng_agent_duration_seconds_count", egress] == 1
    assert found["tng_guard_rejected_packets_total", frozenset(POINTERS[:1])] == 5
    assert found["tng_direct_dial_packets_total", frozenset()] == 1
    assert found["tng_log_lines_dropped_total", frozenset()] == 8
    assert found["tng_workers", frozenset()] == found["tng_workers_wanted", frozenset()] == 2
    assert len([name for name, _ in found if name == "tng_handshake_duration_seconds_bucket"]) == 2 * (len(BOUNDS) + 1)


def test_nothing_secret_is_in_a_snapshot() -> None:
    assert "a secret" not in json.dumps(snapshot(manifest(), sums(), standing(), NOW))


@pytest.mark.parametrize(
    ("changed", "left", "problem", "pending"),
    [
        ({}, timedelta(minutes=10), "", ""),
        ({"judge": None}, timedelta(minutes=10), "no judge", ""),
        ({"workers": [11]}, timedelta(minutes=10), "1 of 2 workers", ""),
        ({"workers": []}, timedelta(minutes=10), "0 of 2 workers", "no worker is ready"),
        ({}, timedelta(seconds=-1), "", "/add_egress/0 has no valid certificate"),
        ({"rules": None}, timedelta(minutes=10), "could not be read", ""),
        ({"rules": RulesState(False, True, (), 1, {})}, timedelta(minutes=10), "not in place: table", "not in place"),
        ({"rules": RulesState(True, True, ("a", "b"), 1, {})}, timedelta(minutes=10), "in 2 places", ""),
        ({"stopping": True}, timedelta(minutes=10), "", "it is stopping"),
        ({"pending": ["the rules are being loaded"]}, timedelta(minutes=10), "", "are being loaded"),
        ({"warnings": ["captured 5, arrived 0"]}, timedelta(minutes=10), "captured 5", ""),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_and_what_keeps_it_from_connections_too(
    changed: dict[str, Any], left: timedelta, problem: str, pending: str
) -> None:
    said = snapshot(manifest(), sums(left), standing(**changed), NOW)
    for words, wanted in ((said["problems"], problem), (said["pending"], pending)):
        assert [wanted in line for line in words] == ([True] if wanted else [])
    found = values(said)
    assert found["tng_ready", frozenset()] == (not pending)
    assert found["tng_problems", frozenset()] == bool(problem)


@pytest.mark.parametrize("file", ["alerts.yml", "dashboard.json"])
def test_alerts_and_dashboard_ask_for_what_is_exported(file: str) -> None:
    exported = {name for name, _ in values(snapshot(manifest(), sums(), standing(), NOW))}
    text = (MONITORING / file).read_text(encoding="utf-8")
    asked = set(NAME.findall(text))
    assert len(asked) > 10
    assert asked <= exported
    families = {name.removesuffix(suffix) for name in exported for suffix in SUFFIXES if name.endswith(suffix)}
    assert families


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    """Panels do not overlap, and each asks for something."""
    dashboard = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert all(target["expr"] for target in panel["targets"])
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_each_alert_has_what_an_operator_needs() -> None:
    """And Prometheus takes them, where its own checker is installed (Debian's package prometheus)."""
    text = (MONITORING / "alerts.yml").read_text(encoding="utf-8")
    alerts = text.split("- alert: ")[1:]
    assert len(alerts) >= 10
    for alert in alerts:
        assert re.search(r"^\s+expr: ", alert, re.MULTILINE), alert
        assert re.search(r"^\s+severity: (critical|warning)$", alert, re.MULTILINE), alert
        assert re.search(r'^\s+summary: ".+"$', alert, re.MULTILINE), alert
    if (promtool := shutil.which("promtool")) is not None:
        subprocess.run([promtool, "check", "rules", str(MONITORING / "alerts.yml")], check=True, timeout=60)
