"""Within one entry: items of ``capture_dst`` that repeat or cover each other. Harmless, and seldom what was meant.

Order means nothing within an entry, so the narrower item is the one that is reported, and the wider one is the note.

An item may be removed if those before it, from the wide to the narrow, have all of its packets in every family that is
captured or refused. By induction all such items may be removed together. One more condition: the first item that names
DNS decides on UDP port 53 (``spares_dns``), even if others have all of its packets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import CaptureDst, Netfilter
from tng_compiler.plan.intervals import Interval, touching, union
from tng_compiler.plan.items import DNS_PORT, Item, describe, items_of, ports_of
from tng_compiler.plan.types import BITS, FAMILIES, Family

BUDGET = 3_000_000
"""Intervals of ports that may be copied from a network to those inside of it; then nested ones are compared no more."""


def overlaps(netfilter: Netfilter, families: Iterable[Family]) -> Iterator[Diagnostic]:
    """Yield a warning for each item that shares packets with another one, at most one an item.

    ``families``: where items may overlap at all.
    """
    items = netfilter.capture_dst or ()
    facts = _Facts(frozenset(i.pointer for i in items if i.network is None), _names_dns(netfilter))
    relevant = [family for family in FAMILIES if family == "ipv4" or netfilter.ipv6 != "bypass"]
    forests = {family: _Forest(family, facts, items_of(netfilter, family)) for family in relevant}
    everywhere: dict[str, list[_Found]] = {}
    for forest in forests.values():
        for found in forest.at_root():
            if found.item.pointer in facts.hostless:
                everywhere.setdefault(found.item.pointer, []).append(found)
            else:
                yield found.diagnostic(facts)
    for both in everywhere.values():
        covered = len(both) == len(relevant) and all(found.covered for found in both)
        first = min(both, key=lambda found: found.covered)
        yield _Found(first.family, first.item, first.other, covered).diagnostic(facts)
    for family in families:
        if family in forests:
            for found in forests[family].inside():
                yield found.diagnostic(facts)


@dataclass(frozen=True, slots=True)
class _Facts:
    """``hostless``: items of both families, by pointer. ``names_dns``: the item that must stay for the sake of DNS."""

    hostless: frozenset[str]
    names_dns: str | None

    def order(self, item: Item) -> tuple[int, int, bool]:
        """From the wide to the narrow, the same in both families: the second is meant for equal networks."""
        return item.length, item.ports[0] - item.ports[1], item.pointer not in self.hostless


def _names_dns(netfilter: Netfilter) -> str | None:
    """The widest item that names port 53, if it is for its sake that DNS is refused."""
    items = netfilter.capture_dst or ()
    named = [item for item in items if item.ports and item.ports.first <= DNS_PORT <= item.ports.last]
    if netfilter.udp != "reject" or any(item.ipset for item in named):
        return None
    return min(named, key=_width).pointer if named and any(item.ports is None for item in items) else None


def _width(item: CaptureDst) -> tuple[int, int, bool]:
    first, last = ports_of(item)
    return item.network.prefixlen if item.network else 0, first - last, item.network is not None


@dataclass(frozen=True, slots=True)
class _Found:
    """``item`` shares packets with ``other``; ``covered``: it adds nothing to those that are wider."""

    family: Family
    item: Item
    other: Item
    covered: bool

    def diagnostic(self, facts: _Facts) -> Diagnostic:
        item, other = self.item, self.other
        covered = self.covered and item.pointer != facts.names_dns
        alike = (item.pointer in facts.hostless) == (other.pointer in facts.hostless)
        if covered and alike and (item.first, item.length, item.ports) == (other.first, other.length, other.ports):
            message = f"expected each destination once, found `{item.pointer}` equal to `{other.pointer}`"
            return _diagnostic(Code.DUPLICATE_ITEM, item, other, message, "the same destination", "remove one")
        address = min(item.first + 1, item.last(self.family))
        packet = describe(self.family, address, max(item.ports[0], other.ports[0]))
        if covered:
            message = f"expected each item to add something, found one inside of others; one packet of both: {packet}"
            return _diagnostic(Code.ITEM_COVERED, item, other, message, "the wider item", "remove the narrower item")
        message = f"expected separate items, found two that share packets, such as {packet}"
        return _diagnostic(
            Code.ITEMS_OVERLAP, item, other, message, "the other item", "what both name is captured once"
        )


class _Ports:
    """A set of ports that grows, in normal form."""

    def __init__(self, intervals: list[Interval]) -> None:
        self.intervals = intervals

    def covers(self, ports: Interval) -> bool:
        """Whether it has all of ``ports``: in normal form that is within one interval."""
        at = bisect_left(self.intervals, (ports[0] + 1,)) - 1
        return at >= 0 and self.intervals[at][1] >= ports[1]

    def touches(self, ports: Interval) -> bool:
        """Whether it has some of ``ports``."""
        return touching(self.intervals, *ports) > 0

    def add(self, ports: Interval) -> None:
        """Add ``ports``, joined with what they touch."""
        start = bisect_left(self.intervals, (ports[0],))
        if start and self.intervals[start - 1][1] >= ports[0] - 1:
            start -= 1
        end = bisect_left(self.intervals, (ports[1] + 2,))
        self.intervals[start:end] = union([*self.intervals[start:end], ports])


@dataclass(slots=True)
class _Node:
    """A network on the way from the root: its items, and the ports of all items around and in it, once needed."""

    last: int
    items: list[Item]
    ports: _Ports | None = None


class _Forest:
    """The networks of one family; two of them are nested or disjoint."""

    def __init__(self, family: Family, facts: _Facts, items: Iterable[Item]) -> None:
        self._family = family
        nodes: defaultdict[tuple[int, int], list[Item]] = defaultdict(list)
        for item in items:
            nodes[item.first, item.length].append(item)
        for here in nodes.values():
            if len(here) > 1:
                here.sort(key=facts.order)
        root = nodes.pop((0, 0), [])
        self._nodes = nodes
        self._root = _Node((1 << BITS[family]) - 1, root)
        self._budget = BUDGET

    def at_root(self) -> list[_Found]:
        """Compare the items of every address."""
        return list(self._visit([], self._root))

    def inside(self) -> Iterator[_Found]:
        """Compare the others with those around them; ``at_root`` comes first."""
        path = [self._root]
        for first, length in sorted(self._nodes):
            while path[-1].last < first:
                path.pop()
            node = _Node(first + (1 << (BITS[self._family] - length)) - 1, self._nodes[first, length])
            yield from self._visit(path, node)
            if self._budget < 0:
                return
            if length < BITS[self._family]:
                path.append(node)

    def _visit(self, path: list[_Node], node: _Node) -> Iterator[_Found]:
        around = self._ports(path)
        if len(node.items) == 1:
            (item,) = node.items
            if around.touches(item.ports):
                yield _Found(self._family, item, _sharing(path, (), item), around.covers(item.ports))
            return
        self._budget -= len(around.intervals)
        node.ports = _Ports(around.intervals.copy())
        equal: dict[Interval, Item] = {}
        for number, item in enumerate(node.items):
            if node.ports.touches(item.ports):
                before = islice(node.items, number) if item.ports not in equal else (equal[item.ports],)
                yield _Found(self._family, item, _sharing(path, before, item), node.ports.covers(item.ports))
            equal.setdefault(item.ports, item)
            node.ports.add(item.ports)

    def _ports(self, path: list[_Node]) -> _Ports:
        """Return the ports of all networks of ``path``, each made when a network inside of it comes first."""
        known = _Ports([])
        for node in path:
            if node.ports is None:
                self._budget -= len(known.intervals) + 1
                node.ports = _Ports(known.intervals.copy())
                for item in node.items:
                    node.ports.add(item.ports)
            known = node.ports
        return known


def _sharing(path: Iterable[_Node], before: Iterable[Item], item: Item) -> Item:
    """Return the widest item that shares packets with ``item``: its equal, if there is one."""
    here = next((other for other in before if _share(other.ports, item.ports)), None)
    if here and here.ports == item.ports:
        return here
    around = (other for node in path for other in node.items if _share(other.ports, item.ports))
    return next(around, None) or here or item


def _diagnostic(code: Code, item: Item, other: Item, message: str, note: str, advice: str) -> Diagnostic:
    notes = (Note(Place(other.pointer), note),)
    return Diagnostic(code, Severity.WARNING, message, Place(item.pointer), notes, advice)


def _share(one: Interval, two: Interval) -> bool:
    return one[0] <= two[1] and two[0] <= one[1]
