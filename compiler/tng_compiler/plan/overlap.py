"""Within one entry: items of ``capture_dst`` that repeat or cover each other. Harmless, and seldom what was meant.

Order means nothing within an entry, so the narrower item is the one that is reported, and the wider one is the note.

Each destination belongs to the widest of the items that have it, in one order for both families. An item that owns
none, in no family that is captured or refused, may be removed, and all such items together: every destination keeps its
owner. One more condition: the first item that names DNS decides on UDP port 53 (``spares_dns``), even if
others have all of its packets.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass

from tng_compiler.algebra.budget import Budget, BudgetSpentError
from tng_compiler.algebra.intervals import Interval
from tng_compiler.algebra.plane import Pattern, places
from tng_compiler.algebra.space import BITS, FAMILIES, Family
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import CaptureDst, Netfilter
from tng_compiler.plan.items import DNS_PORT, PER_ITEM, Item, describe, items_of, ports_of

MOST = 500
"""Findings of one entry after which nobody counts."""


def overlaps(netfilter: Netfilter, families: Container[Family], budget: Budget) -> Iterator[Diagnostic]:
    """Yield a warning for each item that shares packets with another one, at most one an item, in their order.

    ``families``: where items may overlap at all.
    """
    hostless = frozenset(item.pointer for item in netfilter.capture_dst or () if item.network is None)
    owners: set[str] = set()
    shared: dict[str, tuple[Family, Item, Item]] = {}
    try:
        for family in FAMILIES if netfilter.ipv6 != "bypass" else FAMILIES[:1]:
            if family not in families:
                owners.update(item.pointer for item in items_of(netfilter, family))
                continue
            budget.spend(PER_ITEM * len(netfilter.capture_dst or ()))
            covered = shared.keys() - owners
            for item, other in _Owners(netfilter, family, hostless).found(owners, budget):
                if item.pointer not in shared or (item.pointer in covered and item.pointer in owners):
                    shared[item.pointer] = (family, item, other)
    except BudgetSpentError:
        yield _unfinished(netfilter)
        return
    names_dns = _names_dns(netfilter)
    for named in netfilter.capture_dst or ():
        if named.pointer in shared:
            yield _Found(*shared[named.pointer], named.pointer not in owners).diagnostic(hostless, names_dns)


class _Owners:
    """The items of one family by rank: their order from the wide to the narrow, the same in both families.

    Items of one rank share nothing.
    """

    def __init__(self, netfilter: Netfilter, family: Family, hostless: Container[str]) -> None:
        self._family = family
        items = list(items_of(netfilter, family))
        self._order = sorted({_width(item, hostless) for item in items})
        ranks = {width: rank for rank, width in enumerate(self._order)}
        self._items: dict[tuple[int, int], Item] = {}
        self._equal: dict[tuple[int, int, Interval], Item] = {}
        for item in items:
            self._items[ranks[_width(item, hostless)], item.first] = item
            if item.pointer in hostless or (item.first, item.length, item.ports) not in self._equal:
                self._equal[item.first, item.length, item.ports] = item

    def found(self, owners: set[str], budget: Budget) -> Iterator[tuple[Item, Item]]:
        """Yield each item that shares destinations, with its equal or the widest of the others; add to ``owners``."""
        rectangles = [item.rectangle(self._family, rank) for (rank, _), item in self._items.items()]
        known: dict[Pattern, tuple[set[int], set[tuple[int, int]]]] = {}
        widest: dict[tuple[int, int], tuple[int, int]] = {}
        for address, pattern in places(BITS[self._family], rectangles, budget):
            if pattern not in known:
                pairs = {(rank, min(cell)) for _, _, cell in pattern.stretches for rank in cell}
                known[pattern] = ({owner for _, owner in pairs}, {pair for pair in pairs if pair[0] != pair[1]})
            first, later = known[pattern]
            owners.update(self._items[self._key(address, rank)].pointer for rank in first)
            for rank, owner in later:
                key, other = self._key(address, rank), self._key(address, owner)
                widest[key] = min(other, widest.get(key, other))
        for key, other in widest.items():
            item = self._items[key]
            equal = self._equal[item.first, item.length, item.ports]
            yield item, equal if equal is not item else self._items[other]

    def _key(self, address: int, rank: int) -> tuple[int, int]:
        shift = BITS[self._family] - self._order[rank][0]
        return rank, address >> shift << shift


def _width(item: Item, hostless: Container[str]) -> tuple[int, int, int, bool]:
    return item.length, item.ports[0] - item.ports[1], item.ports[0], item.pointer not in hostless


def _names_dns(netfilter: Netfilter) -> str | None:
    """The widest item that names port 53, if it is for its sake that DNS is refused."""
    items = netfilter.capture_dst or ()
    named = [item for item in items if item.ports and item.ports.first <= DNS_PORT <= item.ports.last]
    if netfilter.udp != "reject" or any(item.ipset for item in named):
        return None
    return min(named, key=_named_width).pointer if named and any(item.ports is None for item in items) else None


def _named_width(item: CaptureDst) -> tuple[int, int, bool]:
    first, last = ports_of(item)
    return item.network.prefixlen if item.network else 0, first - last, item.network is not None


@dataclass(frozen=True, slots=True)
class _Found:
    """``item`` shares packets with ``other``; ``covered``: it adds nothing to those that are wider."""

    family: Family
    item: Item
    other: Item
    covered: bool

    def diagnostic(self, hostless: Container[str], names_dns: str | None) -> Diagnostic:
        item, other = self.item, self.other
        covered = self.covered and item.pointer != names_dns
        alike = (item.pointer in hostless) == (other.pointer in hostless)
        if covered and alike and (item.first, item.length, item.ports) == (other.first, other.length, other.ports):
            return _equal(item.pointer, other.pointer)
        address = min(item.first + 1, item.last(self.family))
        packet = describe(self.family, address, max(item.ports[0], other.ports[0]))
        if covered:
            message = f"expected each item to add something, found one inside of others; one packet of both: {packet}"
            return _diagnostic(
                Code.ITEM_COVERED, item.pointer, other.pointer, message, "the wider item", "remove the narrower item"
            )
        message = f"expected separate items, found two that share packets, such as {packet}"
        return _diagnostic(
            Code.ITEMS_OVERLAP,
            item.pointer,
            other.pointer,
            message,
            "the other item",
            "what both name is captured once",
        )


def repeated(netfilter: Netfilter) -> Iterator[Diagnostic]:
    """Yield a warning for each item that says the same as one before it."""
    return (_equal(*pointers) for pointers in netfilter.repeated)


def _equal(item: str, other: str) -> Diagnostic:
    message = f"expected each destination once, found `{item}` equal to `{other}`"
    return _diagnostic(Code.DUPLICATE_ITEM, item, other, message, "the same destination", "remove one")


def _diagnostic(code: Code, item: str, other: str, message: str, note: str, advice: str) -> Diagnostic:
    return Diagnostic(code, Severity.WARNING, message, Place(item), (Note(Place(other), note),), advice)


def _unfinished(netfilter: Netfilter) -> Diagnostic:
    message = "expected items that can be compared in reasonable time, found too many or too deeply nested ones"
    place = Place(f"{netfilter.pointer}/capture_dst")
    return Diagnostic(Code.ANALYSIS_UNFINISHED, Severity.WARNING, message, place, (), "what they name is captured once")
