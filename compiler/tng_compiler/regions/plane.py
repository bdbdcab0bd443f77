"""Destinations of one family, cut by rectangles: which of them hold a destination, for every address and port.

One sweep over the sorted edges of addresses; what is open between two of them is a set of columns, whose ports are
swept once for each different set. Cost: sorting, and the columns open at a time; no comparison of pairs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tng_compiler.plan.types import EVERY_PORT

Cell = frozenset[int]
Strip = tuple[tuple[int, int, int], ...]
"""First port, last port, index of the cell: all ports, ascending, neighbours differ."""


class Rectangle(NamedTuple):
    """Inclusive address interval times inclusive port interval, named by a number of the caller's."""

    name: int
    first: int
    last: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Plane:
    """``rows``: first address, last address, index of the strip; all addresses, ascending, neighbours differ.

    A cell is the set of the rectangles that hold it. Equal functions of destinations are equal planes but for the order
    of ``strips`` and ``cells``.
    """

    rows: tuple[tuple[int, int, int], ...]
    strips: tuple[Strip, ...]
    cells: tuple[Cell, ...]


_SHIFT = 24  # columns, and whether one opens, below the address in one sortable integer


def plane(bits: int, rectangles: Iterable[Rectangle]) -> Plane:
    """Cut the addresses of ``bits`` bits, and all ports, by ``rectangles``; at most 2 to the 23 different columns."""
    columns: dict[tuple[int, int, int], int] = {}
    events: list[int] = []
    for name, first, last, low, high in rectangles:
        column = columns.setdefault((name, low, high), len(columns))
        events.append(first << _SHIFT | column << 1 | 1)
        events.append(last + 1 << _SHIFT | column << 1)
    events.sort()
    made = _Made(list(columns))
    opened: Counter[int] = Counter()
    start = 0
    for event in events:
        address = event >> _SHIFT
        if address > start:
            made.append(start, address - 1, frozenset(opened))
            start = address
        column = (event & (1 << _SHIFT) - 1) >> 1
        if event & 1:
            opened[column] += 1
        elif opened[column] > 1:
            opened[column] -= 1
        else:
            del opened[column]
    if start < 1 << bits:
        made.append(start, (1 << bits) - 1, frozenset(opened))
    return Plane(tuple(made.rows), tuple(made.strips), tuple(made.cells))


class _Made:
    """Rows so far, with strips and cells held once each."""

    def __init__(self, columns: list[tuple[int, int, int]]) -> None:
        self._columns = columns
        self._by_open: dict[frozenset[int], int] = {}
        self.strips: dict[Strip, int] = {}
        self.cells: dict[Cell, int] = {}
        self.rows: list[tuple[int, int, int]] = []

    def append(self, first: int, last: int, opened: frozenset[int]) -> None:
        index = self._by_open.get(opened)
        if index is None:
            strip = self._strip(opened)
            index = self._by_open[opened] = self.strips.setdefault(strip, len(self.strips))
        if self.rows and self.rows[-1][2] == index:
            self.rows[-1] = (self.rows[-1][0], last, index)
        else:
            self.rows.append((first, last, index))

    def _strip(self, opened: frozenset[int]) -> Strip:
        edges: dict[int, list[tuple[int, int]]] = {EVERY_PORT.first: []}
        for column in opened:
            name, low, high = self._columns[column]
            edges.setdefault(low, []).append((name, 1))
            edges.setdefault(high + 1, []).append((name, -1))
        inside: Counter[int] = Counter()
        ports = sorted(edges)
        found: list[tuple[int, int, int]] = []
        for port, following in zip(ports, [*ports[1:], EVERY_PORT.last + 1], strict=True):
            for name, change in edges[port]:
                inside[name] += change
                if not inside[name]:
                    del inside[name]
            if port > EVERY_PORT.last:
                break
            cell = frozenset(inside)
            index = self.cells.setdefault(cell, len(self.cells))
            if found and found[-1][2] == index:
                found[-1] = (found[-1][0], following - 1, index)
            else:
                found.append((port, following - 1, index))
        return tuple(found)
