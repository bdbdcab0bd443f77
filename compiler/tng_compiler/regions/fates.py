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
    """``entry`` is the pointer of the one that captures or refuses, empty if none does.

    ``why`` it is refused: ``ipv6`` (the entry rejects it), ``udp``, ``forwarded``, or ``listener`` (a listen port of
    ours, dialled directly), or what is captured otherwise: ``older`` (than the rules), ``down`` (the runtime is).
    """

    kind: Literal["captured", "refused", "passed"]
    entry: str = ""
    why: Literal["", "ipv6", "udp", "forwarded", "listener", "older", "down"] = ""

    def under(self, state: State) -> Fate:
        """Return the fate of the same connection in ``state``, if this is that of a new one while the runtime lives."""
        if self.kind != "captured" or state == ORDINARY:
            return self
        return Fate("refused", self.entry, "older" if state.established else "down")


PASSED = Fate("passed")
LISTENER = Fate("refused", "", "listener")


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry whose destinations hold the packet's, if ``fact`` is None; else if that fact holds as well.

    ``meant``: the entry is about the socket's cgroup.
    """

    entry: Interception
    fact: int | None
    meant: bool


@dataclass(frozen=True, slots=True)
class Special:
    """``listener``: the port is one of our listen ports. ``dns``: it is 53."""

    listener: bool
    dns: bool


def fate(way: Way, protocol: Protocol, family: Family, candidates: Sequence[Candidate], special: Special) -> Any:
    """Return the diagram of fates over the facts of ``candidates``, which are in the order of precedence."""
    if protocol == "tcp" and special.listener and way in ("in", "within"):
        return LISTENER
    chosen: Any = PASSED
    for candidate, outcome in reversed(list(_outcomes(way, protocol, family, candidates, special))):
        chosen = outcome if candidate.fact is None else choose(candidate.fact, outcome, chosen)
    return chosen


def _outcomes(
    way: Way, protocol: Protocol, family: Family, candidates: Sequence[Candidate], special: Special
) -> Iterator[tuple[Candidate, Fate]]:
    for candidate in candidates:
        entry = candidate.entry
        if way == "through":
            # A forwarded packet has no socket here: who exempts cgroups exempts none of it.
            about = entry.forwarded == "reject" and not entry.inside
        else:
            about = candidate.meant and (way != "within" or entry.local_traffic)
        if protocol == "udp":
            about = about and entry.udp == "reject" and not (special.dns and entry.spares_dns)
        if about:
            yield candidate, _outcome(way, protocol, family, entry)


def _outcome(way: Way, protocol: Protocol, family: Family, entry: Interception) -> Fate:
    if protocol == "udp":
        return Fate("refused", entry.pointer, "udp")
    if way == "through":
        return Fate("refused", entry.pointer, "forwarded")
    if family == "ipv6" and entry.ipv6 == "reject":
        return Fate("refused", entry.pointer, "ipv6")
    return Fate("captured", entry.pointer)
