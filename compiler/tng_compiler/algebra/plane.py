"""Destinations of one family, cut by rectangles: which of them hold a destination, for every address and port.

One sweep over the sorted edges of addresses: what is open between two of them is a set of intervals, whose ports are
swept once for each different set of columns. Cost: sorting, and the intervals open at a time; no comparison of pairs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tng_compiler.algebra.budget import Budget
from tng_compiler.algebra.space import BITS, EVERY_PORT, Family

Cell = frozenset[int]
"""Names of the rectangles that hold the same destinations."""
Strip = tuple[tuple[int, int, int], ...]
"""First port, last port, index of the cell: all ports, ascending, neighbours differ."""


class Rectangle(NamedTuple):
    """Inclusive address interval times inclusive port interval, named by a number of the caller's."""

    name: int
    first: int
    last: int
    low: int
    high: int


class Stretch(NamedTuple):
    """Inclusive port interval and the cell that it is in; of a list of them each is above the one before it."""

    low: int
    high: int
    cell: Cell


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """Disjoint stretches of an address; compared by identity, to be a key."""

    stretches: tuple[Stretch, ...]


@dataclass(frozen=True, slots=True)
class Plane:
    """``rows``: first address, last address, index of the strip; all addresses, ascending, neighbours differ.

    Equal functions of destinations are equal planes but for the order of ``strips`` and ``cells``.
    """

    rows: tuple[tuple[int, int, int], ...]
    strips: tuple[Strip, ...]
    cells: tuple[Cell, ...]


_UNBOUNDED = Budget(float("inf"))
_NOTHING: Cell = frozenset()
_SHIFT = 24  # an interval, and whether it opens, below the address in one sortable integer
_DOCUMENTATION = (0xC0000201, 0x20010DB8 << 96 | 1)


def plane(bits: int, rectangles: Iterable[Rectangle]) -> Plane:
    """Cut the addresses of ``bits`` bits, and all ports, by ``rectangles``."""
    cut = _Cut(bits, rectangles, _UNBOUNDED)
    known: dict[frozenset[int], int] = {}
    strips: dict[Strip, int] = {}
    cells: dict[Cell, int] = {}
    rows: list[tuple[int, int, int]] = []
    for first, last, opened in cut.rows():
        shapes = frozenset(cut.shapes[interval] for interval in opened)
        if shapes not in known:
            stretches = _filled(cut.swept(stretch for shape in shapes for stretch in cut.own(shape)))
            strip = tuple((low, high, cells.setdefault(cell, len(cells))) for low, high, cell in stretches)
            known[shapes] = strips.setdefault(strip, len(strips))
        index = known[shapes]
        if rows and rows[-1][2] == index:
            rows[-1] = (rows[-1][0], last, index)
        else:
            rows.append((first, last, index))
    return Plane(tuple(rows), tuple(strips), tuple(cells))


def places(bits: int, networks: Iterable[Rectangle], budget: Budget) -> Iterator[tuple[int, Pattern]]:
    """Yield an address of each network that is not made of narrower ones, and what holds it at which ports.

    Any two of ``networks`` are nested or disjoint by their addresses, and those of one name disjoint. Left out are
    ports that none has, and ports at which the same of them hold another address that is yielded. Equal patterns are
    mostly the same object. Raises ``BudgetSpentError``.
    """
    cut = _Cut(bits, networks, budget)
    found: dict[int, tuple[int, tuple[int, ...], int | None]] = {}
    for first, last, opened in cut.rows():
        budget.spend(1)
        if not opened:
            continue
        inner = next(reversed(opened))
        if inner not in found:
            path = list(opened)
            budget.spend(len(path))
            shapes = tuple(cut.shapes[interval] for interval in path)
            found[inner] = (example(first, last), shapes, path[-2] if len(path) > 1 else None)
        elif documented(first, last):
            found[inner] = (example(first, last), *found[inner][1:])
    patterns: dict[tuple[tuple[int, ...], bool], Pattern] = {}
    for address, shapes, around in found.values():
        # Beside the network, where it is not, the others are seen alone: outside of its ports nothing is new.
        key = (shapes, around is None or around in found)
        if key not in patterns:
            patterns[key] = Pattern(tuple(_pattern(cut, *key)))
        yield address, patterns[key]


def _pattern(cut: _Cut, shapes: tuple[int, ...], clipped: bool) -> Iterator[Stretch]:
    own = cut.own(shapes[-1])
    others = [cut.own(shape) for shape in shapes[:-1]]
    if not clipped:
        yield from cut.swept(stretch for stretches in (own, *others) for stretch in stretches)
        return
    for here in own:
        around = [stretch for other in others for stretch in _meeting(other, here.low, here.high)]
        yield from cut.swept([here, *around]) if around else [here]


def at(family: Family, rectangles: Iterable[Rectangle], destinations: Iterable[tuple[int, int]]) -> Iterator[Cell]:
    """Yield, for each of ``destinations`` (address and port), the names of the rectangles that hold it."""
    cut = _Cut(BITS[family], rectangles, _UNBOUNDED)
    rows = [(first, tuple(cut.shapes[interval] for interval in opened)) for first, _, opened in cut.rows()]
    for address, port in destinations:
        shapes = rows[bisect_left(rows, (address + 1,)) - 1][1]
        yield _NOTHING.union(*(stretch.cell for shape in shapes for stretch in _meeting(cut.own(shape), port, port)))


def documented(first: int, last: int) -> int | None:
    """Return an address of RFC 5737 or RFC 3849, if there is one between them."""
    return next((a for a in _DOCUMENTATION if first <= a <= last and (last < 1 << 32 or a >= 1 << 32)), None)


def example(first: int, last: int) -> int:
    """Return an address for people: one for documentation, or else a host's."""
    return documented(first, last) or min(first + 1, last)


class _Cut:
    """Rectangles by address interval, from the first and widest; intervals with the same columns have one *shape*."""

    def __init__(self, bits: int, rectangles: Iterable[Rectangle], budget: Budget) -> None:
        self._bits, self._budget = bits, budget
        columns: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
        for name, first, last, low, high in rectangles:
            columns.setdefault((first, -last), []).append((low, high, name))
        shapes: dict[tuple[tuple[int, int, int], ...], int] = {}
        self.shapes: list[int] = []
        self._events: list[int] = []
        for number, (first, negative) in enumerate(sorted(columns)):
            self.shapes.append(shapes.setdefault(tuple(columns[first, negative]), len(shapes)))
            self._events += (first << _SHIFT | number << 1 | 1, 1 - negative << _SHIFT | number << 1)
        self._events.sort()
        self._columns = list(shapes)
        self._own: dict[int, list[Stretch]] = {}

    def rows(self) -> Iterator[tuple[int, int, dict[int, None]]]:
        """Yield the first and last address of each row, all addresses in all, and the intervals that are open there.

        These are the keys of a mapping, in the order in which they were opened, that is valid until the next row.
        """
        opened: dict[int, None] = {}
        start = 0
        for event in self._events:
            address = event >> _SHIFT
            if address > start:
                yield start, address - 1, opened
                start = address
            interval = (event & (1 << _SHIFT) - 1) >> 1
            if event & 1:
                opened[interval] = None
            else:
                del opened[interval]
        if start < 1 << self._bits:
            yield start, (1 << self._bits) - 1, opened

    def own(self, shape: int) -> list[Stretch]:
        """Return the ports of a shape, without those that it does not have."""
        if shape not in self._own:
            columns = self._columns[shape]
            stretches = [Stretch(low, high, frozenset((name,))) for low, high, name in columns]
            self._own[shape] = stretches if len(columns) == 1 else self.swept(stretches)
        return self._own[shape]

    def swept(self, stretches: Iterable[Stretch]) -> list[Stretch]:
        """Return stretches that may overlap as such that do not, with the unions of their cells; neighbours differ."""
        edges: dict[int, tuple[list[Stretch], list[Stretch]]] = {}
        for stretch in stretches:
            edges.setdefault(stretch.low, ([], []))[0].append(stretch)
            edges.setdefault(stretch.high + 1, ([], []))[1].append(stretch)
        opened: dict[int, Cell] = {}
        found: list[Stretch] = []
        start = 0
        for port in sorted(edges):
            if opened:
                self._budget.spend(len(opened))
                cell = _NOTHING.union(*opened.values())
                if found and found[-1].high + 1 == start and found[-1].cell == cell:
                    found[-1] = Stretch(found[-1].low, port - 1, cell)
                else:
                    found.append(Stretch(start, port - 1, cell))
            start = port
            begins, ends = edges[port]
            for stretch in ends:
                del opened[id(stretch)]
            for stretch in begins:
                opened[id(stretch)] = stretch.cell
        return found


def _meeting(stretches: Sequence[Stretch], low: int, high: int) -> Iterator[Stretch]:
    """Yield what of ``stretches`` is between two ports."""
    index = bisect_left(stretches, low, key=lambda stretch: stretch.high)
    while index < len(stretches) and stretches[index].low <= high:
        stretch = stretches[index]
        yield Stretch(max(low, stretch.low), min(high, stretch.high), stretch.cell)
        index += 1


def _filled(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Yield all ports, those that are in nothing as well."""
    free = EVERY_PORT.first
    for stretch in stretches:
        if stretch.low > free:
            yield Stretch(free, stretch.low - 1, _NOTHING)
        yield stretch
        free = stretch.high + 1
    if free <= EVERY_PORT.last:
        yield Stretch(free, EVERY_PORT.last, _NOTHING)
