"""Where an entry's packets go, as matches: one for each way to be inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from tng_compiler.algebra.space import FAMILIES, Family, Ports, Region
from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, OperatorSet
from tng_compiler.rules.tree import (
    AtListener,
    AtPorts,
    Drop,
    InBoxes,
    InOperatorSet,
    Match,
    OfFamily,
    OverLoopback,
    Protocol,
    Return,
    Rule,
    Side,
    ToLoopbackAddress,
    Verdict,
)
from tng_schema import contract

DNS = Ports(53, 53)


def destinations(
    entry: Interception,
    regions: Iterable[Region],
    sets: Iterable[OperatorSet],
    side: Side = "destination",
    protocol: Protocol = "tcp",
) -> Iterator[tuple[Match, ...]]:
    """Yield the alternatives; ``side`` "source": of an answer from there."""
    regions = tuple(regions)
    everywhere: dict[tuple[Ports, ...], list[Family]] = {}
    for region in regions:
        if region.ports:
            everywhere.setdefault(region.ports, []).append(region.family)
    for ports, families in everywhere.items():
        family = () if len(families) == len(FAMILIES) else (OfFamily(families[0]),)
        yield (*family, AtPorts(side, ports, protocol))
    for region in regions:
        if region.boxes:
            yield (InBoxes(side, names.boxes(entry, region.family), region.family, protocol),)
    for group in sets:
        yield (InOperatorSet(side, group.name, group.family), AtPorts(side, group.ports, protocol))


def everything(entry: Interception, side: Side, protocol: Protocol = "tcp") -> Iterator[tuple[Match, ...]]:
    """Yield what the entry captures or rejects."""
    regions, sets = (*entry.captured, *entry.rejected), (*entry.captured_sets, *entry.rejected_sets)
    return destinations(entry, regions, sets, side, protocol)


def requested(entry: Interception, then: Verdict) -> list[Rule]:
    """Return rules that give ``then`` to requests to what the entry captures, UDP included unless it lets UDP pass."""
    rules = [Rule(match, then) for match in everything(entry, "destination")]
    if entry.udp == "bypass":
        return rules
    if entry.spares_dns:
        rules.append(Rule((AtPorts("destination", (DNS,), "udp"),), Return()))
    return rules + [Rule(match, then) for match in everything(entry, "destination", "udp")]


def listening(side: Side, entries: Iterable[Interception]) -> AtListener:
    """The listen ports of ``entries``."""
    return AtListener(side, tuple(sorted(entry.listen_port for entry in entries)))


def strays(side: Literal["came", "leaves"]) -> tuple[Rule, ...]:
    """Return rules that drop what is for a loopback address and not on the loopback device."""
    elsewhere = OverLoopback(side, negated=True)
    return tuple(
        Rule((elsewhere, ToLoopbackAddress(family)), Drop(), "loopback is not on the wire", contract.STRAYED)
        for family in FAMILIES
    )
