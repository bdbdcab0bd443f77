"""The snapshot of an instance as OpenMetrics, in the names that ztunnel's and linkerd's operators look for.

Labels are ``entry`` (its pointer in the document), ``role`` and words of ours; never an address of a peer.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import CollectorRegistry

from tng_runtime.counts import BOUNDS
from tng_schema import contract

CONTENT_TYPE: str = CONTENT_TYPE_LATEST
_ENTRY = ("entry", "role")


def render(snapshot: dict[str, Any]) -> bytes:
    """The text for ``CONTENT_TYPE``."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(snapshot))
    return bytes(generate_latest(registry))  # type: ignore[no-untyped-call]


class _Snapshot:
    def __init__(self, snapshot: dict[str, Any]) -> None:
        self._said = snapshot

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield from _instance(self._said)
        entries = self._said["entries"]
        yield from _connections(entries)
        yield from _trust(entries)


def _instance(said: dict[str, Any]) -> Iterator[Metric]:
    info = {"version": said["version"], "instance_name": said["instance"], "config_sha256": said["config_sha256"]}
    yield InfoMetricFamily("tng", "The instance.", value=info)
    yield _gauge("tng_up", "Whether the instance serves.", said["state"] == "serving")
    yield _gauge("tng_ready", "Whether it takes connections: what /readyz says.", not said["pending"])
    since = datetime.fromisoformat(said["since"]).timestamp()
    yield _gauge("tng_start_time_seconds", "When the instance started, seconds since 1970.", since)
    yield _gauge("tng_problems", "Reasons for which `tng status` calls it degraded.", len(said["problems"]))
    yield _gauge("tng_workers", "Worker processes that serve.", said["workers"]["alive"])
    yield _gauge("tng_workers_wanted", "Worker processes that there should be.", said["workers"]["wanted"])
    yield _gauge("tng_judge_up", "Whether the process that judges peers is ready.", said["judge"] is not None)
    yield CounterMetricFamily(
        "tng_log_lines_dropped", "Lines that the log's reader was too slow for.", value=said["log_lines_dropped"]
    )
    if (rules := said["rules"]) is not None and rules["needed"]:
        yield from _rules(rules)


def _rules(rules: dict[str, Any]) -> Iterator[Metric]:
    yield _gauge("tng_rules_in_place", "Whether both tables are in the kernel as they were loaded.", rules["in_place"])
    yield _gauge("tng_rules_drift", "Differences between the rules and what was applied.", len(rules["drift"]))
    yield CounterMetricFamily(
        "tng_rules_changed", "How often somebody else changed the rules.", value=rules["changed_by_others"]
    )
    packets = CounterMetricFamily(
        "tng_rules_packets",
        "Packets by counter of the rules; loading them anew begins at 0.",
        labels=("table", "counter"),
    )
    rejected = CounterMetricFamily(
        "tng_guard_rejected_packets", "Packets of captured destinations that the guard refused.", labels=("entry",)
    )
    refused: dict[str, int] = {}
    for table, counters in sorted(rules["counters"].items()):
        for name, number in sorted(counters.items()):
            packets.add_metric((table, name), number)
            if name.endswith(contract.REJECTED):
                refused[name] = refused.get(name, 0) + number
    for name, number in sorted(refused.items()):
        role, _, index = name.removesuffix(contract.REJECTED).partition("_")
        rejected.add_metric((f"/add_{role}/{index}",), number)
    yield packets
    yield rejected
    direct = sum(counters.get(contract.DIRECT, 0) for counters in rules["counters"].values())
    yield CounterMetricFamily(
        "tng_direct_dial_packets", "Packets that went straight to a listen port, and were refused.", value=direct
    )


def _connections(entries: list[dict[str, Any]]) -> Iterator[Metric]:
    plain = (
        ("tng_tcp_connections_accepted", "Captured connections that were taken.", "accepted"),
        ("tng_tcp_connections_opened", "Connections that passed and were relayed.", "opened"),
        ("tng_tcp_connections_left", "Clients that were gone before their turn.", "left"),
        ("tng_tcp_sent_bytes", "Payload from clients to their destinations.", "bytes_sent"),
        ("tng_tcp_received_bytes", "Payload from destinations to their clients.", "bytes_received"),
        ("tng_bugs", "Connections that a bug of ours ended.", "bugs"),
    )
    for name, text, key in plain:
        yield _counters(name, text, entries, key)
    opened = GaugeMetricFamily("tng_tcp_connections_open", "Connections that are relayed now.", labels=_ENTRY)
    for entry in entries:
        opened.add_metric(_labels(entry), entry["open"])
    yield opened
    yield _by("tng_tcp_connections_closed", "Relayed connections that ended, by ending.", entries, "closed", "ending")
    yield _by("tng_tcp_connections_refused", "Connections that were refused, by code.", entries, "refused", "code")
    took = HistogramMetricFamily(
        "tng_handshake_duration_seconds", "From the accepted connection to the verdict.", labels=_ENTRY
    )
    for entry in entries:
        _add_durations(took, _labels(entry), entry["handshakes"])
    yield took


def _trust(entries: list[dict[str, Any]]) -> Iterator[Metric]:
    verdicts = CounterMetricFamily("tng_verdicts", "Verdicts on peers.", labels=(*_ENTRY, "outcome"))
    kept = GaugeMetricFamily("tng_verdicts_kept", "Verdicts that are kept now.", labels=_ENTRY)
    waited = HistogramMetricFamily("tng_verdict_duration_seconds", "Of verdicts that were asked for.", labels=_ENTRY)
    left = GaugeMetricFamily(
        "tng_certificate_expiry_seconds", "What is left to the certificate that this side shows.", labels=_ENTRY
    )
    for entry in entries:
        said = entry["verdicts"]
        for outcome in ("kept", "given", "refused"):
            verdicts.add_metric((*_labels(entry), outcome), said[outcome])
        kept.add_metric(_labels(entry), said["kept_now"])
        _add_durations(waited, _labels(entry), said["waited"])
        if (shown := entry["certificate"]) is not None and shown["seconds_left"] is not None:
            left.add_metric(_labels(entry), shown["seconds_left"])
    yield from (verdicts, kept, waited, left)
    for key, what in (("agent", "the attestation agent"), ("service", "the attestation service")):
        took = HistogramMetricFamily(f"tng_{key}_duration_seconds", f"Calls that {what} answered.", labels=_ENTRY)
        failed = CounterMetricFamily(f"tng_{key}_failures", f"Calls that {what} did not answer.", labels=_ENTRY)
        for entry in entries:
            _add_durations(took, _labels(entry), entry[key]["took"])
            failed.add_metric(_labels(entry), entry[key]["failed"])
        yield from (took, failed)


def _labels(entry: dict[str, Any]) -> tuple[str, str]:
    return entry["entry"], entry["role"]


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))


def _counters(name: str, text: str, entries: list[dict[str, Any]], key: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=_ENTRY)
    for entry in entries:
        family.add_metric(_labels(entry), entry[key])
    return family


def _by(name: str, text: str, entries: list[dict[str, Any]], key: str, label: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=(*_ENTRY, label))
    for entry in entries:
        for word, number in entry[key].items():
            family.add_metric((*_labels(entry), word), number)
    return family


def _add_durations(family: HistogramMetricFamily, labels: tuple[str, ...], said: dict[str, Any]) -> None:
    total, buckets = 0, []
    for bound, number in zip((*map(str, BOUNDS), "+Inf"), said["buckets"], strict=True):
        total += number
        buckets.append((bound, total))
    family.add_metric(labels, buckets, sum_value=said["seconds"])
