"""Region algebra over destinations: exact, disjoint, and fast because networks are laminar.

Two CIDR networks are nested or disjoint, never crossing. So the items of a capture form a forest, and walking it in the
order (first address, prefix length) keeps exactly the enclosing networks on a stack. A network contributes the ports
that none of the networks around it has; what it contributes is therefore disjoint from everything else, without cutting
a wide network into the gaps between the narrow ones. Cost: items times depth (33 or 129), and no comparison of pairs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from tng_compiler.plan.intervals import Interval, subtract, union
from tng_compiler.plan.types import BITS, Box, Family, Ports, Region

Points = Iterable[tuple[int, int, Interval]]

_LENGTH_BITS = 8  # a prefix length, up to 128, below the address in one sortable integer


def collapse(family: Family, items: Points) -> tuple[Region, bool]:
    """Return the union of ``items`` (first address, prefix length, ports), disjoint, and whether some might overlap.

    Address-adjacent boxes with the same ports are one box. The result depends on the set of items, not on their order.
    """
    bits = BITS[family]
    nodes: defaultdict[int, list[Interval]] = defaultdict(list)
    for first, length, ports in items:
        nodes[first << _LENGTH_BITS | length].append(ports)
    hostless = nodes.pop(0, [])
    everywhere = union(hostless)
    columns, touching = _columns(bits, nodes, everywhere)
    touching = touching or len(everywhere) < len(hostless)
    rows: defaultdict[Interval, list[Interval]] = defaultdict(list)
    for ports, spans in columns.items():
        for span in spans:
            rows[span].append(ports)
    everywhere = union(everywhere + rows.pop((0, (1 << bits) - 1), []))
    known: dict[Interval, Ports] = {}
    boxes: list[Box] = []
    for first, last in sorted(rows):
        row = rows[first, last]
        boxes += [
            Box(first, last, known.get(ports) or known.setdefault(ports, Ports(*ports)))
            for ports in (union(row) if len(row) > 1 else row)
        ]
    return Region(family, tuple(Ports(*ports) for ports in everywhere), tuple(boxes)), touching


def _columns(
    bits: int, nodes: dict[int, list[Interval]], everywhere: list[Interval]
) -> tuple[dict[Interval, list[Interval]], bool]:
    """Walk the forest; return for each port interval the address intervals that have it, merged where they meet.

    The second value is false only if no two items share a packet.
    """
    columns: dict[Interval, list[Interval]] = {}
    touching = False
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
        own = subtract(whole, everywhere) if everywhere else whole
        for _, taken in around:
            own = subtract(own, taken)
        touching = touching or own != whole
        for ports in own:
            # Ascending and disjoint within a column: two nested networks never keep the same ports.
            spans = columns.get(ports)
            if spans is None:
                columns[ports] = [(first, last)]
            elif spans[-1][1] + 1 == first:
                spans[-1] = (spans[-1][0], last)
            else:
                spans.append((first, last))
        if own and length < bits:
            around.append((last, own))
    return columns, touching
