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

Key = tuple[int, int]
Item = tuple[int, int, Interval]


def collapse(family: Family, items: Iterable[Item]) -> Region:
    """Return the union of ``items`` (first address, prefix length, ports) as a disjoint region.

    Address-adjacent boxes with the same ports are one box. The result depends on the set of items, not on their order.
    """
    nodes: defaultdict[Key, list[Interval]] = defaultdict(list)
    for first, length, ports in items:
        nodes[first, length].append(ports)
    everywhere = union(nodes.pop((0, 0), ()))
    columns: defaultdict[Interval, list[Interval]] = defaultdict(list)
    bits = BITS[family]
    around: list[tuple[int, list[Interval]]] = []
    for (first, length), ports_here in sorted(nodes.items()):
        last = first + (1 << (bits - length)) - 1
        while around and around[-1][0] < first:
            around.pop()
        own = ports_here if len(ports_here) == 1 else union(ports_here)
        own = subtract(own, everywhere) if everywhere else own
        for _, taken in around:
            own = subtract(own, taken)
        for ports in own:
            columns[ports].append((first, last))
        if own:
            around.append((last, own))
    whole = (0, (1 << bits) - 1)
    rows: defaultdict[Interval, list[Interval]] = defaultdict(list)
    for ports, spans in columns.items():
        for span in union(spans):
            rows[span].append(ports)
    everywhere = union(everywhere + rows.pop(whole, []))
    boxes = [(span, ports) for span, row in rows.items() for ports in (union(row) if len(row) > 1 else row)]
    boxes.sort()
    return Region(
        family,
        tuple(Ports(*ports) for ports in everywhere),
        tuple(Box(*span, Ports(*ports)) for span, ports in boxes),
    )
