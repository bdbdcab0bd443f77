"""Where an entry's packets go, as matches: one for each way to be inside; and the refusals made of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.plan import names
from tng_compiler.plan.types import FAMILIES, Family, Interception, OperatorSet, Ports, Region
from tng_compiler.rules.tree import (
    AtPorts,
    InBoxes,
    InOperatorSet,
    Match,
    OfFamily,
    Protocol,
    Reset,
    Return,
    Rule,
    Side,
    Unreachable,
)

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


def refusals(entry: Interception) -> list[Rule]:
    """Requests to what the entry captures: a reset for TCP, an ICMP error for UDP unless the entry lets it pass."""
    rules = _resets(entry, "destination")
    if entry.udp == "bypass":
        return rules
    if entry.spares_dns:
        rules.append(Rule((AtPorts("destination", (DNS,), "udp"),), Return()))
    rules += [
        Rule(match, Unreachable(), counter=names.rejected(entry)) for match in everything(entry, "destination", "udp")
    ]
    return rules


def answer_refusals(entry: Interception) -> list[Rule]:
    """Segments from what the entry captures."""
    return _resets(entry, "source")


def _resets(entry: Interception, side: Side) -> list[Rule]:
    return [Rule(match, Reset(), counter=names.rejected(entry)) for match in everything(entry, side)]
