"""Within one entry: items of ``capture_dst`` that repeat or cover each other. Harmless, and seldom what was meant.

Order means nothing within an entry, so the narrower item is the one that is reported, and the wider one is the note.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.plan.intervals import Interval, subtract, touching, union
from tng_compiler.plan.items import Item, describe
from tng_compiler.plan.types import BITS, Family


def overlaps(family: Family, items: Iterable[Item]) -> Iterator[Diagnostic]:
    """Yield a warning for each item that shares packets with another one, at most one an item."""
    nodes: defaultdict[tuple[int, int], list[Item]] = defaultdict(list)
    for item in items:
        nodes[item.first, item.length].append(item)
    around: list[tuple[int, list[Interval], list[Item]]] = []
    for first, length in sorted(nodes):
        here = nodes[first, length]
        while around and around[-1][0] < first:
            around.pop()
        if around:
            for item in _in_one_network(here):
                yield from _against(family, item, around)
        if len(here) > 1:
            yield from _duplicates(family, here)
        if length < BITS[family]:
            last = first + (1 << (BITS[family] - length)) - 1
            around.append((last, union(item.ports for item in here), here))


def _in_one_network(here: list[Item]) -> Iterator[Item]:
    """Each different port interval of a network once."""
    seen: set[Interval] = set()
    for item in here:
        if item.ports not in seen:
            seen.add(item.ports)
            yield item


def _against(family: Family, item: Item, around: list[tuple[int, list[Interval], list[Item]]]) -> Iterator[Diagnostic]:
    left = [item.ports]
    wider: Item | None = None
    for _, taken, items in around:
        pieces = touching(taken, *item.ports)
        if pieces and wider is None:
            wider = next(other for other in items if _share(other.ports, item.ports))
        if pieces == 1:
            # More than one piece leaves gaps between them: they do not cover the item, though others may.
            left = subtract(left, taken)
    if wider:
        yield _warning(family, item, wider, covered=not left)


def _duplicates(family: Family, here: list[Item]) -> Iterator[Diagnostic]:
    widest: Item | None = None
    for item in sorted(here, key=lambda item: (item.ports[0], -item.ports[1])):
        if widest and _share(widest.ports, item.ports):
            if widest.ports == item.ports:
                message = f"expected each destination once, found `{item.pointer}` equal to `{widest.pointer}`"
                yield _diagnostic(Code.DUPLICATE_ITEM, item, widest, message, "the same destination", "remove one")
            else:
                yield _warning(family, item, widest, covered=item.ports[1] <= widest.ports[1])
        if widest is None or item.ports[1] > widest.ports[1]:
            widest = item


def _warning(family: Family, item: Item, wider: Item, *, covered: bool) -> Diagnostic:
    packet = describe(family, min(item.first + 1, item.last(family)), max(item.ports[0], wider.ports[0]))
    if covered:
        message = f"expected each item to add something, found one inside of others; one packet of both: {packet}"
        return _diagnostic(Code.ITEM_COVERED, item, wider, message, "the wider item", "remove the narrower item")
    message = f"expected separate items, found two that share packets, such as {packet}"
    return _diagnostic(Code.ITEMS_OVERLAP, item, wider, message, "the other item", "what both name is captured once")


def _diagnostic(code: Code, item: Item, other: Item, message: str, note: str, advice: str) -> Diagnostic:
    notes = (Note(Place(other.pointer), note),)
    return Diagnostic(code, Severity.WARNING, message, Place(item.pointer), notes, advice)


def _share(one: Interval, two: Interval) -> bool:
    return one[0] <= two[1] and two[0] <= one[1]
