"""Where an entry's packets go, as matches: one for each way to be inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.plan.types import FAMILIES, Family, Interception, OperatorSet, Ports, Region
from tng_compiler.rules import names
from tng_compiler.rules.tree import AtPorts, InBoxes, InOperatorSet, Match, OfFamily, Side


def destinations(
    entry: Interception, regions: Iterable[Region], sets: Iterable[OperatorSet], side: Side = "destination"
) -> Iterator[tuple[Match, ...]]:
    """Yield the alternatives; ``side`` "source": of an answer from there."""
    regions = tuple(regions)
    everywhere: dict[tuple[Ports, ...], list[Family]] = {}
    for region in regions:
        if region.ports:
            everywhere.setdefault(region.ports, []).append(region.family)
    for ports, families in everywhere.items():
        family = () if len(families) == len(FAMILIES) else (OfFamily(families[0]),)
        yield (*family, AtPorts(side, ports))
    for region in regions:
        if region.boxes:
            yield (InBoxes(side, names.boxes(entry, region.family), region.family),)
    for group in sets:
        yield (InOperatorSet(side, group.name, group.family), AtPorts(side, group.ports))
