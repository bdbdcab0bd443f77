"""All traffic of a plan that a pattern holds for; none is a proof, since the cells of the cut are all there is."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from tng_compiler.find.pattern import Pattern
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import State, Way
from tng_compiler.regions.solve import Region, View, solve

_WAYS: tuple[Way, ...] = ("out", "in", "within", "through")


def find(plan: Plan, pattern: Pattern) -> tuple[Region, ...]:
    """Return the regions, each with its ``Fate`` as the answer. Where the document has no entry everything passes."""
    found = [region for state in pattern.states for region in _in(plan, pattern, state)]
    return tuple(sorted(found, key=lambda one: (one.state, _WAYS.index(one.way), one.protocol, one.answer)))


def _in(plan: Plan, pattern: Pattern, state: State) -> list[Region]:
    def question(view: View) -> Hashable | None:
        if state.established and view.protocol == "udp":
            return None  # UDP has no connections that could be older
        fate = view.fates[0].under(state)
        return fate if pattern.holds(replace(view, fates=(fate,), state=state)) else None

    found = solve([plan], question, pattern.named, doors=True)
    return [replace(region, state=state) for region in found]
