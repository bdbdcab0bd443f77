"""The lane of a door in the picture: who connects to it, where it listens and leads."""

from __future__ import annotations

from dataclasses import dataclass

from tng_compiler.emit.diagram import short
from tng_compiler.model.types import Socks5
from tng_compiler.plan.doorways import doorways
from tng_compiler.plan.types import Plan, PlannedDoor


@dataclass(frozen=True, slots=True)
class Arrow:
    """``lines`` are its label, ``kind`` a class of the style sheet; it goes to the left if ``left``."""

    kind: str
    lines: tuple[str, ...]
    left: bool


def lane(door: PlannedDoor, plan: Plan) -> tuple[list[Arrow], list[str], list[str], list[tuple[str, str]]]:
    """Return the arrows at the near side, the words of the near box and of the door's own, and the notes below."""
    ways = [way for way in doorways(plan) if way.door is door]
    ports = [f"{way.host} port {_span(way.box.ports.first, way.box.ports.last)}" for way in ways]
    there = list(dict.fromkeys(way.whole for way in ways))
    gate = [f"{door.role}, {ways[0].kind}" if ways else door.role, f"mark {door.so_mark}"]
    note = [("small", "a door: it captures nothing, and no rule is about it; what does not come to it passes")]
    if any(way.open for way in ways):
        note.append(("says-warn", "! passes in plaintext: what no filter takes (unmatched: direct)"))
    if door.role == "egress":
        gate += short(ports)
        return [Arrow("plain", ("plaintext, after the verdict:", *short(there)), left=True)], [], gate, note
    gate += ["leads to", *short(there)] if any(way.rule for way in ways) else [f"leads {each}" for each in there]
    leads = Arrow("plain", ("connect, in plaintext, to", *short(ports)), left=False)
    asks = isinstance(door.mode, Socks5) and door.mode.auth is not None
    return [leads], ["that know the password" if asks else "that know the door"], gate, note


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"
