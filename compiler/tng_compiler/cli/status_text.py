"""How an instance stands, for people: the document of its status socket, as lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from tng_compiler.diagnostics.quoting import visible

Said = Mapping[str, Any]

_MOST_DRIFT = 20


def status_text(said: Said, now: datetime | None = None) -> list[str]:
    """The lines of one instance; what keeps it from being healthy comes last."""
    now = now or datetime.now(UTC)
    since = datetime.fromisoformat(said["since"])
    lasted = _span((now - since).total_seconds())
    judge = f"judge {said['judge']}" if said["judge"] else "no judge"
    workers, rates = said["workers"], said["rates"]
    lines = [
        f"{said['instance']}: {said['state']}, for {lasted} (since {_time(said['since'])}), "
        f"process {said['pid']}, tng {said['version']}",
        f"  document     {_document(said)}, {_rules(said['rules'])}",
        f"  processes    {workers['alive']} of {workers['wanted']} workers, {judge}",
        f"  last minute  {rates['connections']:g} connections/s, {_bytes(rates['bytes_sent'])}/s sent, "
        f"{_bytes(rates['bytes_received'])}/s received",
    ]
    if said["log_lines_dropped"]:
        lines.append(f"  log          {said['log_lines_dropped']} lines dropped: its reader is too slow")
    for entry in said["entries"]:
        lines += ["", *_entry(entry, said["advice"])]
    lines += _drift(said["rules"])
    for what, words in (("pending", said["pending"]), ("degraded", said["problems"])):
        lines += ["", *(f"{what}: {line}" for line in words)] if words else []
    return lines


def _document(said: Said) -> str:
    name, digest = said.get("document"), said["config_sha256"][:12]
    return f"{visible(name, 60)} ({digest})" if name else digest


def connections_text(name: str, said: Said) -> list[str]:
    """The open connections of one instance, the oldest first."""
    shown = said["connections"]
    lines = [f"{name.split('.')[0]}: {said['total']} open"]
    rows: list[tuple[str, ...]] = [
        ("ENTRY", "SOURCE", "DESTINATION", "LEG", "OPEN FOR", "SENT", "RECEIVED", "VERDICT", "PEER")
    ]
    for each in shown:
        row = (
            *(each["entry"], each["src"], each["dst"], each["leg"], _span(each["duration"] or 0)),
            *(_bytes(each["bytes_sent"] or 0), _bytes(each["bytes_received"] or 0)),
            *(each["verdict"], (each["peer"] or "")[:16]),
        )
        rows.append(tuple(str(cell or "-") for cell in row))
    if shown:
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    if said["total"] > len(shown):
        lines.append(f"  and {said['total'] - len(shown)} younger ones")
    return lines


def _entry(entry: Said, advice: Mapping[str, str]) -> Iterator[str]:
    yield f"  {entry['entry']} ({entry['role']})"
    yield f"    captures     {'; '.join(entry['captures']) or '-'}"
    yield f"    listens      {', '.join(entry['listening']) or 'not yet'}"
    yield f"    proves       {_attests(entry['trust']['attests'])}"
    yield f"    demands      {_verifies(entry['trust']['verifies'])}"
    if (shown := entry["certificate"]) is not None:
        yield f"    certificate  {_certificate(shown)}"
    verdicts = entry["verdicts"]
    if entry["trust"]["verifies"] is not None:
        yield (
            f"    verdicts     {verdicts['kept_now']} kept; asked for {verdicts['asked']} times, "
            f"{verdicts['refused']} of them refused{_average(verdicts['waited'])}; {verdicts['kept']} from memory"
        )
    closed = sum(entry["closed"].values())
    endings = ", ".join(f"{name} {number}" for name, number in entry["closed"].items())
    refused = sum(entry["refused"].values())
    yield (
        f"    connections  {entry['open']} open, {entry['opened']} opened{_average(entry['handshakes'])}, "
        f"{closed} closed{f' ({endings})' if endings else ''}, {refused} refused"
    )
    yield f"    payload      {_bytes(entry['bytes_sent'])} sent, {_bytes(entry['bytes_received'])} received"
    for code, number in sorted(entry["refused_last_hour"].items(), key=lambda pair: -pair[1]):
        yield f"    refused      {code} {number} in the last hour: {advice.get(code, '')}"


def _attests(attests: Said | None) -> str:
    return "nothing" if attests is None else f"itself by {attests['model']}, agent {attests['agent']}"


def _verifies(verifies: Said | None) -> str:
    if verifies is None:
        return "nothing: whoever answers is taken"
    by = verifies["service"] or ", ".join(verifies["pinned"]) or "any signer"
    return f"{verifies['model']} of the peer, by {by}, policies {', '.join(verifies['policy_ids'])}"


def _certificate(shown: Said) -> str:
    if shown["not_after"] is None:
        return "none yet"
    left = shown["seconds_left"]
    text = f"until {_time(shown['not_after'])} ({_span(left)} left)" if left else f"ended {_time(shown['not_after'])}"
    return f"{text}; not renewed: {shown['refusal']}: {shown['advice']}" if shown["refusal"] else text


def _rules(rules: Said | None) -> str:
    if rules is None:
        return "rules could not be read"
    if not rules.get("needed", True):
        return "no rules: nothing is captured"
    if not rules["table"] or not rules["guard"]:
        return "RULES NOT IN PLACE"
    number = rules["changed_by_others"]
    changed = f", changed by others {'once' if number == 1 else f'{number} times'}" if number else ""
    return f"{'rules in place' if rules['in_place'] else 'rules differ'}{changed}"


def _drift(rules: Said | None) -> Iterator[str]:
    if rules is not None and rules["drift"]:
        yield ""
        yield "  what differs from what was applied:"
        yield from (f"    {line}" for line in rules["drift"][:_MOST_DRIFT])
        if len(rules["drift"]) > _MOST_DRIFT:
            yield f"    and {len(rules['drift']) - _MOST_DRIFT} more"


def _average(durations: Said) -> str:
    count = sum(durations["buckets"])
    return f" ({1000 * durations['seconds'] / count:.3g} ms on average)" if count else ""


def _time(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: float) -> str:
    for size, unit, below, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            rest = int(seconds % size // below)
            return f"{int(seconds // size)} {unit} {rest} {smaller}" if rest else f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def _bytes(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024:
            return f"{number:.0f} B" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"
