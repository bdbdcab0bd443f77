"""Functions of unknown yes-or-no facts, as ordered reduced decision diagrams: equal functions are equal values.

Bryant, Graph-Based Algorithms for Boolean Function Manipulation (1986), with any values at the leaves. The facts are
the operator's sets: whether one holds a destination is known at run time only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class Node(NamedTuple):
    """``low`` if the fact does not hold, ``high`` if it does; both are nodes of greater facts, or leaves."""

    fact: int
    low: Any
    high: Any


def combine(parts: tuple[Any, ...], leaf: Callable[[tuple[Any, ...]], Any]) -> Any:
    """Return the diagram whose leaves are ``leaf`` of the leaves of ``parts``; a leaf is any value but a ``Node``."""
    known: dict[tuple[Any, ...], Any] = {}

    def walk(here: tuple[Any, ...]) -> Any:
        if here in known:
            return known[here]
        facts = [part.fact for part in here if isinstance(part, Node)]
        if not facts:
            return leaf(here)
        fact = min(facts)
        low = walk(tuple(part.low if isinstance(part, Node) and part.fact == fact else part for part in here))
        high = walk(tuple(part.high if isinstance(part, Node) and part.fact == fact else part for part in here))
        known[here] = low if low == high else Node(fact, low, high)
        return known[here]

    return walk(parts)


def choose(fact: int, high: Any, low: Any) -> Any:
    """Return ``high`` where the fact holds and ``low`` where it does not."""
    return combine((Node(fact, False, True), high, low), lambda leaves: leaves[1] if leaves[0] else leaves[2])


def leaves(diagram: Any) -> Iterator[tuple[tuple[tuple[int, bool], ...], Any]]:
    """Yield each leaf with the facts on the way to it."""
    if not isinstance(diagram, Node):
        yield (), diagram
        return
    for holds, branch in ((False, diagram.low), (True, diagram.high)):
        for way, value in leaves(branch):
            yield ((diagram.fact, holds), *way), value
