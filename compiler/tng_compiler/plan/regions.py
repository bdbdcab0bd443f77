"""Region algebra over destinations: exact, disjoint, and fast because networks are laminar.

Two CIDR networks are nested or disjoint, never crossing. So the items of a capture form a forest, and walking it in the
order (first address, prefix length) keeps exactly the enclosing networks on a stack. A network contributes the ports
that none of the networks around it has; what it contributes is therefore disjoint from everything else, without cutting
a wide network into the gaps between the narrow ones. Cost: items times depth (33 or 129), and no comparison of pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tng_compiler.plan.intervals import Interval, subtract, union
from tng_compiler.plan.intervals import touching as touching_ports
from tng_compiler.plan.items import Item
from tng_compiler.plan.types import BITS, Box, Family, Ports, Region

MOST_ROWS = 250_000
"""Rows of one set. 100,000 items make more only if very many ports of networks are cut out of very many hosts."""

FEW = 4
"""Ports that are captured everywhere have a rule of their own; a box repeats them if cutting makes more pieces."""

_LENGTH_BITS = 8  # a prefix length, up to 128, below the address in one sortable integer


class TooFragmentedError(Exception):
    """The items overlap in so many pieces that no set could hold them disjoint."""


def collapse(family: Family, items: Iterable[Item]) -> tuple[Region, bool]:
    """Return the union of ``items``, disjoint, and whether some might overlap.

    Raises ``TooFragmentedError``. Address-adjacent boxes with the same ports are one box. The result depends on the set
    of items, not on their order.
    """
    bits = BITS[family]
    nodes: defaultdict[int, list[Interval]] = defaultdict(list)
    for _, _, first, length, ports in items:
        nodes[first << _LENGTH_BITS | length].append(ports)
    hostless = nodes.pop(0, [])
    everywhere = union(hostless)
    columns, touching = _columns(bits, nodes, everywhere)
    touching = touching or len(everywhere) < len(hostless)
    whole = (0, (1 << bits) - 1)
    everywhere = union(everywhere + [ports for ports, spans in columns.items() if spans == [whole]])
    boxes = [(*span, *ports) for ports, spans in columns.items() for span in spans if span != whole]
    boxes.sort()
    return Region(family, tuple(Ports(*ports) for ports in everywhere), tuple(_joined(boxes))), touching


def _pieces(intervals: list[Interval], taken: list[Interval]) -> int:
    return sum(touching_ports(taken, first, last) for first, last in intervals)


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


def _columns(
    bits: int, nodes: dict[int, list[Interval]], everywhere: list[Interval]
) -> tuple[dict[Interval, list[Interval]], bool]:
    """Walk the forest; return for each port interval the address intervals that have it, merged where they meet.

    The second value is false only if no two items share a packet.
    """
    columns: dict[Interval, list[Interval]] = {}
    touching = False
    rows = 0
    around: list[tuple[int, list[Interval]]] = []
    mask = (1 << _LENGTH_BITS) - 1
    for key in sorted(nodes):
        first, length = key >> _LENGTH_BITS, key & mask
        last = first + (1 << (bits - length)) - 1
        while around and around[-1][0] < first:
            around.pop()
        whole = nodes[key]
        if len(whole) > 1:
            whole = union(whole)
            touching = touching or len(whole) < len(nodes[key])
        own = whole
        if everywhere and (pieces := _pieces(whole, everywhere)):
            touching = True
            own = subtract(whole, everywhere) if pieces <= FEW else whole
        for _, taken in around:
            if pieces := _pieces(own, taken):
                touching = True
                if rows + pieces > MOST_ROWS:
                    raise TooFragmentedError
                own = subtract(own, taken)
        rows += len(own)
        if rows > MOST_ROWS:
            raise TooFragmentedError
        _append(columns, own, first, last)
        if own and length < bits:
            around.append((last, own))
    return columns, touching


def _append(columns: dict[Interval, list[Interval]], own: list[Interval], first: int, last: int) -> None:
    """Columns stay ascending and disjoint: two nested networks never keep the same ports."""
    for ports in own:
        spans = columns.get(ports)
        if spans is None:
            columns[ports] = [(first, last)]
        elif spans[-1][1] + 1 == first:
            spans[-1] = (spans[-1][0], last)
        else:
            spans.append((first, last))
