"""What becomes of a connection: the meaning of the rules, read from the plan alone.

The first entry that matches wins. This says in a few lines what ``rules`` spells out for the kernel; a property test
holds it against ``rules.decide``, packet by packet.

Taken for granted: the socket at this host's end exists, carries no mark of ours, and its cgroup is no newer than the
rules; the listen ports are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tng_compiler.algebra.diagrams import choose
from tng_compiler.algebra.space import Family
from tng_compiler.model.types import Role
from tng_compiler.plan.types import Interception

Way = Literal["out", "in", "within", "through"]
"""From this host to another, to this host, from this host to itself, or forwarded; as in ``rules.packet``."""
Protocol = Literal["tcp", "udp"]
WAYS: dict[Role, tuple[Way, ...]] = {"ingress": ("out", "through"), "egress": ("in", "within")}


@dataclass(frozen=True, slots=True, order=True)
class State:
    """``established``: conntrack knew the connection before the rules were loaded. ``down``: nobody listens for it."""

    established: bool = False
    down: bool = False


ORDINARY = State()
PROTOCOLS: tuple[Protocol, Protocol] = ("tcp", "udp")


@dataclass(frozen=True, slots=True, order=True)
class Fate:
    """``entry`` is the pointer of the one that captures or refuses, empty if none does; or of the door that takes it.

    ``why`` it is refused: ``ipv6`` (the entry rejects it), ``udp``, ``forwarded``, or ``listener`` (a listen port of
    ours, dialled directly), or what is captured otherwise: ``older`` (than the rules), ``down`` (the runtime is).
    """

    kind: Literal["captured", "refused", "passed", "taken"]
    entry: str = ""
    why: Literal["", "ipv6", "udp", "forwarded", "listener", "older", "down"] = ""

    def under(self, state: State) -> Fate:
        """Return the fate of the same connection in ``state``, if this is that of a new one while the runtime lives."""
        if self.kind not in ("captured", "taken") or state == ORDINARY:
            return self
        if not state.established:
            return Fate("refused", self.entry, "down")
        # Who had the port of a door before it was ours keeps the connections that he has.
        return Fate("refused", self.entry, "older") if self.kind == "captured" else PASSED


PASSED = Fate("passed")
LISTENER = Fate("refused", "", "listener")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry whose destinations hold the packet's, if ``fact`` is None; else if that fact holds as well.

    ``meant``: the entry is about the socket's cgroup, or takes what comes by that interface if this host forwards it.
    """

    entry: Interception
    fact: int | None
    meant: bool


@dataclass(frozen=True, slots=True)
class Special:
    """``listener``: the port is one of our listen ports. ``dns``: it is 53. ``door``: of the one that listens there."""

    listener: bool
    dns: bool
    door: str = ""


def fate(way: Way, protocol: Protocol, family: Family, candidates: Sequence[Candidate], special: Special) -> Any:
    """Return the diagram of fates over the facts of ``candidates``, which are in the order of precedence."""
    if protocol == "tcp" and special.listener and way in ("in", "within"):
        return LISTENER
    chosen: Any = Fate("taken", special.door) if special.door and protocol == "tcp" else PASSED
    for candidate, outcome in reversed(list(_outcomes(way, protocol, family, candidates, special))):
        chosen = outcome if candidate.fact is None else choose(candidate.fact, outcome, chosen)
    return chosen


def _outcomes(
    way: Way, protocol: Protocol, family: Family, candidates: Sequence[Candidate], special: Special
) -> Iterator[tuple[Candidate, Fate]]:
    if way == "through" and protocol == "tcp":
        yield from _captured_forwarded(family, candidates)
    for candidate in candidates:
        entry = candidate.entry
        if way == "through":
            # A forwarded packet has no socket here: who exempts cgroups exempts none of it.
            about = entry.minds_forwarded
        else:
            about = candidate.meant and (way != "within" or entry.local_traffic)
        if protocol == "udp":
            about = about and entry.udp == "reject" and not (special.dns and entry.spares_dns)
        if about:
            yield candidate, _outcome(way, protocol, family, entry)


def _captured_forwarded(family: Family, candidates: Sequence[Candidate]) -> Iterator[tuple[Candidate, Fate]]:
    """The entries that decide whether it is redirected; what none of them takes is refused by all that mind it."""
    for candidate in candidates:
        entry = candidate.entry
        if candidate.meant and entry.takes_forwarded:
            refused = family == "ipv6" and entry.ipv6 == "reject"
            yield candidate, Fate("refused", entry.pointer, "ipv6") if refused else Fate("captured", entry.pointer)
        elif entry.minds_forwarded and not entry.takes_forwarded:
            yield candidate, Fate("refused", entry.pointer, "forwarded")


def _outcome(way: Way, protocol: Protocol, family: Family, entry: Interception) -> Fate:
    if protocol == "udp":
        return Fate("refused", entry.pointer, "udp")
    if way == "through":
        return Fate("refused", entry.pointer, "forwarded")
    if family == "ipv6" and entry.ipv6 == "reject":
        return Fate("refused", entry.pointer, "ipv6")
    return Fate("captured", entry.pointer)
