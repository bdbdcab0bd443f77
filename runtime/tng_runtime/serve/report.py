"""How an instance stands, as the one document that status, readiness and metrics are made of.

It holds names and numbers of ours only: what a stranger said is in no part of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tng_runtime import __version__
from tng_runtime.counts import Asked, Durations, EntryCounts
from tng_runtime.kernel.rules import RulesState
from tng_runtime.manifest import Entry, Manifest
from tng_runtime.serve.tally import CODES, HOUR_SECONDS, JudgeCounts, Sums

RATE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the supervisor knows besides the sums; ``pending``: what the start waits for, empty once it serves.

    ``wanted`` is how many workers there should be, ``workers`` and ``judge`` are process ids of those that are ready.
    ``rules`` None: they could not be read, ``warnings`` are words about what was noticed.
    """

    since: datetime
    pending: Sequence[str]
    stopping: bool
    wanted: int
    workers: Sequence[int]
    judge: int | None
    rules: RulesState | None
    pid: int
    namespace: int
    lost_here: int = 0
    warnings: Sequence[str] = ()
    captures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    listening: Sequence[Sequence[str]] = ()


def snapshot(manifest: Manifest, sums: Sums, standing: Standing, now: datetime | None = None) -> dict[str, Any]:
    """The document; times are ISO 8601 in UTC."""
    now = now or datetime.now(UTC)
    first, last = sums.recent(HOUR_SECONDS)
    lately = last.refused - first.refused
    entries = [
        _entry(
            manifest.entries[number],
            sums.total(number),
            sums.judge(number),
            {code: count for (entry, code), count in sorted(lately.items()) if entry == number},
            now,
        )
        | {
            "captures": list(standing.captures.get(manifest.entries[number].pointer, ())),
            "listening": list(standing.listening[number]) if number < len(standing.listening) else [],
        }
        for number in range(len(manifest.entries))
    ]
    rules = _rules(standing.rules)
    pending = list(standing.pending) or _pending(standing, entries)
    return {
        "version": __version__,
        "instance": manifest.table,
        "pid": standing.pid,
        "network_namespace": standing.namespace,
        "since": standing.since.isoformat(timespec="seconds"),
        "config_sha256": manifest.config_sha256,
        "state": "stopping" if standing.stopping else "starting" if standing.pending else "serving",
        "pending": pending,
        "problems": [] if standing.pending else [*_problems(standing, entries, rules), *standing.warnings],
        "workers": {"wanted": standing.wanted, "alive": len(standing.workers), "pids": list(standing.workers)},
        "judge": standing.judge,
        "rules": rules,
        "rates": _rates(sums),
        "log_lines_dropped": sums.lost_lines() + standing.lost_here,
        "advice": {code: CODES[code].action for code in sorted({code for _, code in lately})},
        "entries": entries,
    }


def _entry(
    entry: Entry, counts: EntryCounts, judge: JudgeCounts, lately: dict[str, int], now: datetime
) -> dict[str, Any]:
    return {
        "entry": entry.pointer,
        "role": entry.role,
        "listen_port": entry.listen_port,
        "families": list(entry.families),
        "trust": _trust(entry),
        "certificate": _certificate(entry, judge, now),
        "accepted": counts.accepted,
        "opened": counts.opened,
        "open": counts.open,
        "closed": dict(sorted(counts.ended.items())),
        "left": counts.left,
        "bugs": counts.bugs,
        "bytes_sent": counts.sent,
        "bytes_received": counts.received,
        "refused": dict(sorted(counts.refused.items())),
        "refused_last_hour": lately,
        "handshakes": _durations(counts.handshakes),
        "verdicts": {
            "kept_now": judge.kept,
            "kept": counts.verdicts.kept,
            "asked": counts.verdicts.given + counts.verdicts.refused,
            "given": counts.verdicts.given,
            "refused": counts.verdicts.refused,
            "waited": _durations(counts.verdicts.waited),
        },
        "agent": _asked(judge.agent),
        "service": _asked(judge.service),
    }


def _trust(entry: Entry) -> dict[str, Any]:
    """Who proves what to whom."""
    attest, verify = entry.attest, entry.verify
    return {
        "attests": None if attest is None else {"model": attest.model, "agent": attest.aa_path},
        "verifies": None
        if verify is None
        else {
            "model": verify.model,
            "policy_ids": list(verify.policy_ids),
            "service": verify.service.as_addr if verify.service else None,
            "pinned": list(verify.trusted_certs_paths),
        },
    }


def _certificate(entry: Entry, judge: JudgeCounts, now: datetime) -> dict[str, Any] | None:
    if entry.attest is None or not entry.attest.refresh_interval:
        return None
    end = judge.not_after
    return {
        "not_after": None if end is None else end.isoformat(timespec="seconds"),
        "seconds_left": None if end is None else max(0.0, round((end - now).total_seconds(), 1)),
        "refusal": judge.refusal,
        "advice": CODES[judge.refusal].action if judge.refusal else None,
    }


def _durations(durations: Durations) -> dict[str, Any]:
    return {"buckets": list(durations.buckets), "seconds": durations.microseconds / 1e6}


def _asked(asked: Asked) -> dict[str, Any]:
    return {"took": _durations(asked.took), "failed": asked.failed}


def _rules(state: RulesState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "needed": state.needed,
        "in_place": state.table and state.guard and not state.drift,
        "table": state.table,
        "guard": state.guard,
        "drift": list(state.drift),
        "changed_by_others": state.changes,
        "counters": state.counters,
    }


def _rates(sums: Sums) -> dict[str, float]:
    """A second, over the last minute."""
    first, last = sums.recent(RATE_SECONDS)
    seconds = last.at - first.at
    if seconds <= 0:
        return {"connections": 0.0, "bytes_sent": 0.0, "bytes_received": 0.0}
    return {
        "connections": round(max(0, last.opened - first.opened) / seconds, 3),
        "bytes_sent": round(max(0, last.sent - first.sent) / seconds, 1),
        "bytes_received": round(max(0, last.received - first.received) / seconds, 1),
    }


def _pending(standing: Standing, entries: list[dict[str, Any]]) -> list[str]:
    """What keeps an instance that serves from taking connections now."""
    if standing.stopping:
        return ["it is stopping"]
    found = [] if standing.workers else ["no worker is ready"]
    for said in entries:
        shown = said["certificate"]
        if shown is not None and not shown["seconds_left"] and standing.judge is not None:
            found.append(f"{said['entry']} has no valid certificate")
    rules = standing.rules
    if rules is not None and rules.needed and not (rules.table and rules.guard):
        found.append("the rules are not in place")
    return found


def _problems(standing: Standing, entries: list[dict[str, Any]], rules: dict[str, Any] | None) -> list[str]:
    """Why it is degraded."""
    found = []
    if rules is None:
        found.append("the rules could not be read")
    elif not rules["needed"]:
        pass
    elif not rules["table"] or not rules["guard"]:
        found.append("the rules are not in place: " + " and ".join(n for n in ("table", "guard") if not rules[n]))
    elif rules["drift"]:
        found.append(f"the rules differ from what was applied in {len(rules['drift'])} places")
    if standing.judge is None:
        found.append("there is no judge: only known peers are taken")
    if len(standing.workers) < standing.wanted:
        found.append(f"{len(standing.workers)} of {standing.wanted} workers are ready")
    for entry in entries:
        shown = entry["certificate"]
        if shown is not None and shown["refusal"]:
            found.append(f"{entry['entry']}: its certificate was not renewed ({shown['refusal']})")
        if entry["bugs"]:
            found.append(f"{entry['entry']}: {entry['bugs']} connections ended by a bug of ours")
    return found
