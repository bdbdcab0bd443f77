"""The union of destinations in one form, whatever pieces they were named in: exact, disjoint, and for people.

Two CIDR networks are nested or disjoint, never crossing. So the items of a capture form a forest, and walking it in the
order (first address, prefix length) keeps exactly the enclosing networks on a stack. A network contributes the ports
that none of the networks around it has; what it contributes is therefore disjoint from everything else, without cutting
a wide network into the gaps between the narrow ones. What both halves of a network contribute is the network's instead:
then each port stands at the widest networks that have it, which are the same however it was written. Cost: items times
depth (33 or 129), and no comparison of pairs.

Ports that are captured everywhere have a rule of their own, so it does not matter whether a network has them as well:
they are taken out of the axis of ports, and come back where they lie between others. 8080 everywhere does not cut every
host with all ports in two.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import accumulate

from tng_compiler.algebra.intervals import Interval, intersect, subtract, union
from tng_compiler.algebra.intervals import touching as touching_ports
from tng_compiler.algebra.space import BITS, Box, Family, Ports, Region

MOST_ROWS = 250_000
"""Rows of one set. 100,000 items make more only if very many ports of networks are cut out of very many hosts."""

_LENGTH_BITS = 8  # a prefix length, up to 128, below the address in one sortable integer
_LENGTHS = (1 << _LENGTH_BITS) - 1

Nodes = dict[int, list[Interval]]
"""Ports, in normal form and not empty, by address and prefix length."""


class TooFragmentedError(Exception):
    """The items overlap in so many pieces that no set could hold them disjoint."""


def collapse(family: Family, items: Iterable[tuple[int, int, Interval]]) -> tuple[Region, bool]:
    """Return the union of ``items`` (first address, prefix length, ports), and whether some might overlap.

    Raises ``TooFragmentedError``. The region is a function of the destinations, not of the items.
    """
    bits = BITS[family]
    named: defaultdict[int, list[Interval]] = defaultdict(list)
    for first, length, ports in items:
        named[first << _LENGTH_BITS | length].append(ports)
    hostless = named.pop(0, [])
    everywhere = union(hostless)
    axis = _Axis(everywhere)
    touching = len(everywhere) < len(hostless)
    if everywhere:
        touching = touching or any(touching_ports(everywhere, *ports) for own in named.values() for ports in own)
        named = defaultdict(list, {key: kept for key, own in named.items() if (kept := axis.without(own))})
    nodes, nested = _separated(bits, named)
    _halves_joined(bits, nodes)
    if whole := nodes.pop(0, None):
        nodes = {key: axis.restored(own) for key, own in nodes.items()}
        everywhere = union([*everywhere, *axis.restored(whole)])
        axis = _Axis(everywhere)
        nodes = {key: union(axis.without(own)) for key, own in nodes.items()}
    columns = {axis.back(ports): spans for ports, spans in _columns(bits, nodes).items()}
    boxes = sorted((*span, *ports) for ports, spans in columns.items() for span in spans)
    ports_everywhere = tuple(Ports(*ports) for ports in everywhere)
    return Region(family, ports_everywhere, tuple(_joined(boxes))), touching or nested


class _Axis:
    """Ports without some of them, numbered through."""

    def __init__(self, removed: list[Interval]) -> None:
        self._removed = removed
        self._lasts = [last for _, last in removed]
        self._gone = [0, *accumulate(last - first + 1 for first, last in removed)]
        self._numbers = [first - gone for (first, _), gone in zip(removed, self._gone, strict=False)]

    def without(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return what is left of each of ``intervals``, as numbers."""
        if not self._removed:
            return list(intervals)
        numbered = ((self._number(first), self._number(last + 1) - 1) for first, last in intervals)
        return [(first, last) for first, last in numbered if first <= last]

    def back(self, numbers: Interval) -> Interval:
        """Return the ports from one number to another, with what was removed between them."""
        return self._port(numbers[0]), self._port(numbers[1])

    def restored(self, intervals: Iterable[Interval]) -> list[Interval]:
        """Return ``back`` of each."""
        return [self.back(numbers) for numbers in intervals]

    def _number(self, port: int) -> int:
        """How many ports below ``port`` are left."""
        index = bisect_left(self._lasts, port)
        inside = max(0, port - self._removed[index][0]) if index < len(self._removed) else 0
        return port - self._gone[index] - inside

    def _port(self, number: int) -> int:
        return number + self._gone[bisect_right(self._numbers, number)]


def _separated(bits: int, named: dict[int, list[Interval]]) -> tuple[Nodes, bool]:
    """Walk the forest; return what each network adds to those around it.

    The second value is false only if no two items share a packet.
    """
    found: Nodes = {}
    touching = False
    rows = 0
    around: list[tuple[int, list[Interval]]] = []
    for key in sorted(named):
        first, length = key >> _LENGTH_BITS, key & _LENGTHS
        last = first + (1 << (bits - length)) - 1
        while around and around[-1][0] < first:
            around.pop()
        own = named[key]
        if len(own) > 1:
            own = union(own)
            touching = touching or len(own) < len(named[key])
        for _, taken in around:
            if pieces := sum(touching_ports(taken, *ports) for ports in own):
                touching = True
                if rows + pieces > MOST_ROWS:
                    raise TooFragmentedError
                own = subtract(own, taken)
        rows += len(own)
        if rows > MOST_ROWS:
            raise TooFragmentedError
        if own:
            found[key] = own
            if length < bits:
                around.append((last, own))
    return found, touching


def _halves_joined(bits: int, nodes: Nodes) -> None:
    """Give each network what both of its halves have, from the narrow to the wide."""
    by_length: defaultdict[int, list[int]] = defaultdict(list)
    for key in nodes:
        by_length[key & _LENGTHS].append(key)
    for length in range(bits, 0, -1):
        half = 1 << (bits - length + _LENGTH_BITS)
        for key in by_length[length]:
            other = key | half
            if key == other or other not in nodes or key not in nodes:
                continue
            both = nodes[key] if nodes[key] == nodes[other] else intersect(nodes[key], nodes[other])
            if not both:
                continue
            for one in (key, other):
                if left := subtract(nodes[one], both):
                    nodes[one] = left
                else:
                    del nodes[one]
            whole = key - 1
            if whole not in nodes:
                by_length[length - 1].append(whole)
            nodes[whole] = union([*nodes.get(whole, ()), *both])


def _columns(bits: int, nodes: Nodes) -> dict[Interval, list[Interval]]:
    """Return for each port interval the address intervals that have it, merged where they meet."""
    columns: dict[Interval, list[Interval]] = {}
    for key in sorted(nodes):
        first = key >> _LENGTH_BITS
        last = first + (1 << (bits - (key & _LENGTHS))) - 1
        for ports in nodes[key]:
            spans = columns.get(ports)
            # Ascending and disjoint: two nested networks never have the same ports.
            if spans is None:
                columns[ports] = [(first, last)]
            elif spans[-1][1] + 1 == first:
                spans[-1] = (spans[-1][0], last)
            else:
                spans.append((first, last))
    return columns


def _joined(boxes: list[tuple[int, int, int, int]]) -> Iterator[Box]:
    """Yield sorted boxes as values, those of one address interval joined where their ports meet."""
    known: dict[Interval, Ports] = {}
    before = (-1, -1, -1, -1)
    for box in [*boxes, (-1, -1, -1, -1)]:
        if box[2] == before[3] + 1 and box[0] == before[0] and box[1] == before[1]:
            before = (*before[:3], box[3])
            continue
        if before[0] >= 0:
            ports = before[2:]
            yield Box(before[0], before[1], known.get(ports) or known.setdefault(ports, Ports(*ports)))
        before = box
