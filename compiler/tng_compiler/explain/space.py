"""Where the rules change their mind: addresses and ports cut along the boundaries of what the tree compares with.

Of what lies between two boundaries one representative answers for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tng_compiler.algebra.space import EVERY_PORT, Box
from tng_compiler.rules import tree

EXAMPLES = (0x20010DB8 << 96 | 1, 0xC6336401)
"""2001:db8::1 (RFC 3849) and 198.51.100.1 (RFC 5737): of a class that holds one of them, that one is shown."""

Named = tuple[str, Box]
Span = tuple[int, int]
WHOLE: Span = (EVERY_PORT.first, EVERY_PORT.last)


@dataclass(frozen=True, slots=True)
class Place:
    """Addresses that are alike to every set: ``spans`` are inclusive, ``address`` is one of them.

    ``boxes`` are those that hold ``address``, each with the name of its set.
    """

    address: int
    spans: tuple[Span, ...]
    boxes: tuple[Named, ...]


def places(named: Iterable[Named], domain: Sequence[Span], at: Span = WHOLE) -> list[Place]:
    """Return the classes of the addresses in ``domain`` (disjoint, ascending), in the order of their first address.

    ``at`` are the ports that matter: boxes without any of them are left out.
    """
    lowest, highest = at
    named = (pair for pair in named if pair[1].ports.first <= highest and pair[1].ports.last >= lowest)
    if len(domain) == 1 and domain[0][0] == domain[0][1]:
        address = domain[0][0]
        return [
            Place(address, tuple(domain), tuple(pair for pair in named if pair[1].first <= address <= pair[1].last))
        ]
    first, last = domain[0][0], domain[-1][1]
    begin: dict[int, list[Named]] = {}
    end: dict[int, list[Named]] = {}
    for pair in named:
        if pair[1].last >= first and pair[1].first <= last:
            begin.setdefault(max(first, pair[1].first), []).append(pair)
            end.setdefault(pair[1].last + 1, []).append(pair)
    cuts = sorted({*begin, *end, *(span[0] for span in domain), *(span[1] + 1 for span in domain)})
    spans: dict[frozenset[tuple[str, int, int]], list[Span]] = {}
    boxes: dict[frozenset[tuple[str, int, int]], tuple[Named, ...]] = {}
    first_of: dict[frozenset[tuple[str, int, int]], int] = {}
    active: dict[Named, None] = {}
    position = 0
    for start, stop in pairwise(cuts):
        for pair in end.get(start, ()):
            active.pop(pair, None)
        active.update(dict.fromkeys(begin.get(start, ())))
        while position < len(domain) and domain[position][1] < start:
            position += 1
        if position == len(domain) or domain[position][0] > start:
            continue
        key = frozenset((name, max(lowest, box.ports.first), min(highest, box.ports.last)) for name, box in active)
        example = next((address for address in EXAMPLES if start <= address < stop), None)
        if key not in spans or example:
            boxes[key] = tuple(active)
            # The first address of a network is seldom a host's.
            first_of[key] = example or (start + 1 if stop - start > 2 else start)
        _extend(spans.setdefault(key, []), start, stop - 1)
    return [Place(first_of[key], tuple(found), boxes[key]) for key, found in spans.items()]


def compared(chains: Iterable[tree.Chain], side: tree.Side) -> frozenset[int]:
    """Return where the ports of ``side`` begin that some rule of the chains compares with, and what is above them."""
    matches = {match for chain in chains for rule in chain.rules for match in rule.matches}
    found: set[int] = set()
    for match in matches:
        if isinstance(match, tree.AtPorts) and match.side == side:
            found.update(cut for each in match.ports for cut in (each.first, each.last + 1))
        elif isinstance(match, tree.AtListener) and match.side == side:
            found.update(cut for port in match.ports for cut in (port, port + 1))
    return frozenset(found)


def ports(edges: Iterable[int], boxes: Iterable[Named], domain: Span) -> list[Span]:
    """Return the intervals of ``domain`` that no edge and no box cuts."""
    cuts = {cut for _, box in boxes if box.ports != EVERY_PORT for cut in (box.ports.first, box.ports.last + 1)}
    inside = {cut for cut in (*edges, *cuts) if domain[0] < cut <= domain[1]}
    ordered = sorted({domain[0], *inside, domain[1] + 1})
    return [(start, stop - 1) for start, stop in pairwise(ordered)]


def without(domain: Span, hole: Span) -> tuple[Span, ...]:
    """Return ``domain`` without ``hole``."""
    parts = ((domain[0], min(domain[1], hole[0] - 1)), (max(domain[0], hole[1] + 1), domain[1]))
    return tuple(part for part in parts if part[0] <= part[1])


def _extend(spans: list[Span], first: int, last: int) -> None:
    if spans and spans[-1][1] + 1 == first:
        spans[-1] = (spans[-1][0], last)
    else:
        spans.append((first, last))
