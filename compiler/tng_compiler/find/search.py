"""All traffic of a plan that a pattern holds for; none is a proof, since the cells of the cut are all there is."""

from __future__ import annotations

from collections.abc import Hashable

from tng_compiler.find.pattern import Pattern
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import Way
from tng_compiler.regions.solve import Region, View, solve

_WAYS: tuple[Way, ...] = ("out", "in", "within", "through")


def find(plan: Plan, pattern: Pattern) -> tuple[Region, ...]:
    """Return the regions, each with its ``Fate`` as the answer.

    A direction for which the document has no entry is looked at only if the pattern names it: there everything passes.
    """
    ways = spoken_of(plan) | pattern.ways

    def question(view: View) -> Hashable | None:
        return view.fates[0] if view.way in ways and pattern.holds(view) else None

    found = solve([plan], question, pattern.named, doors=True)
    return tuple(sorted(found, key=lambda region: (_WAYS.index(region.way), region.protocol, region.answer)))


def spoken_of(plan: Plan) -> set[Way]:
    """Return the directions that the plan has entries for."""
    ways: set[Way] = set()
    if plan.of("ingress"):
        ways |= {"out", "through"}
    if plan.of("egress"):
        ways.add("in")
    if any(entry.local_traffic for entry in plan.entries):
        ways.add("within")
    if plan.doors:
        ways |= {"in", "within"}
    return ways
