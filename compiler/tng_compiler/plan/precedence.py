"""Between entries: which packets two of them match, exactly. The first wins, and the author should know.

Asked of each place of the algebra and each case of senders: an item is shadowed there if an entry before its own has
the same packets. It is shadowed altogether if that holds in every place and every case. Items of one entry, length and
ports are of one *sort*, and share the answer where they are among items of the same sorts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tng_compiler.algebra.budget import Budget, BudgetSpentError
from tng_compiler.algebra.cgroups import Sender, classes
from tng_compiler.algebra.intervals import Interval
from tng_compiler.algebra.plane import Pattern, Rectangle, places
from tng_compiler.algebra.space import BITS, FAMILIES, Family
from tng_compiler.model.types import Entry
from tng_compiler.plan.interfaces import Takes, kinds_matter, spelled
from tng_compiler.plan.interfaces import classes as classes_of_interfaces
from tng_compiler.plan.items import PER_ITEM, Item, items_of

_CASES_A_STEP = 4


@dataclass(slots=True)
class Fate:
    """What becomes of one item: ``alive`` somewhere, and where and by which entry packets are taken from it."""

    item: Item
    alive: bool = False
    family: Family = "ipv4"
    address: int = 0
    port: int = 0
    sender: Sender | None = None
    winner: Item | None = None


@dataclass(slots=True)
class Precedence:
    """The fates of all items of one role by pointer, in their order; ``complete``: the budget sufficed."""

    fates: dict[str, Fate] = field(default_factory=dict)
    complete: bool = True


def precedence(entries: Sequence[Entry], budget: Budget) -> Precedence:
    """Follow every item of the ``entries`` of one role through those before it."""
    result = Precedence()
    if len(entries) < 2:
        return result
    senders = _Senders(entries)
    try:
        # Half of the answer would take as long as what is left of the time for all of it.
        items = sum(len(entry.netfilter.capture_dst or ()) for entry in entries)
        budget.spend(len(FAMILIES) * PER_ITEM * items)
        for family in FAMILIES:
            _Walk(entries, family, senders, result.fates).judge(budget)
    except BudgetSpentError:
        result.complete = False
    return result


class _Walk:
    """The items of one family, by sort and by network."""

    def __init__(self, entries: Sequence[Entry], family: Family, senders: _Senders, fates: dict[str, Fate]) -> None:
        self._family, self._senders = family, senders
        self._sorts: dict[tuple[int, int, Interval], int] = {}
        self._fates: dict[tuple[int, int], list[Fate]] = {}
        self._rectangles: list[Rectangle] = []
        for position, entry in enumerate(entries):
            if family == "ipv6" and entry.netfilter.ipv6 == "bypass":
                continue
            for item in items_of(entry.netfilter, family, position):
                sort = self._sorts.setdefault((position, item.length, item.ports), len(self._sorts))
                fate = fates.get(item.pointer) or fates.setdefault(item.pointer, Fate(item))
                alike = self._fates.setdefault((sort, item.first), [])
                if not alike:
                    self._rectangles.append(item.rectangle(family, sort))
                alike.append(fate)
        self._by_number = list(self._sorts)

    def judge(self, budget: Budget) -> None:
        """Say what becomes of the items."""
        known: dict[Pattern, list[_Lost | int]] = {}
        for address, pattern in places(BITS[self._family], self._rectangles, budget):
            if pattern not in known:
                known[pattern] = list(dict.fromkeys(self._judged(pattern, budget)))
            for said in known[pattern]:
                if isinstance(said, int):
                    for fate in self._at(address, said):
                        fate.alive = True
                    continue
                for fate in self._at(address, said.sort):
                    if fate.winner is None:
                        fate.winner, fate.sender = self._at(address, said.winner)[0].item, said.sender
                        fate.family, fate.address, fate.port = self._family, address, said.port

    def _at(self, address: int, sort: int) -> list[Fate]:
        shift = BITS[self._family] - self._by_number[sort][1]
        return self._fates[sort, address >> shift << shift]

    def _judged(self, pattern: Pattern, budget: Budget) -> Iterator[_Lost | int]:
        """Yield the sorts that win somewhere, and those that lose."""
        for port, _, cell in pattern.stretches:
            by_entry: dict[int, list[int]] = {}
            for sort in sorted(cell):
                by_entry.setdefault(self._by_number[sort][0], []).append(sort)
            for sender, (first, *others) in self._senders.of(tuple(by_entry), budget):
                budget.spend(1 + len(others))
                yield from by_entry[first]
                for sort in (sort for position in others for sort in by_entry[position]):
                    yield _Lost(sort, by_entry[first][0], sender, port)


class _Lost(NamedTuple):
    """Items of ``sort`` lose packets of ``sender`` to ``port``."""

    sort: int
    winner: int
    sender: Sender
    port: int


class _Senders:
    """Whose packets which entries are about."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        conditions = [
            ([path.path for path in netfilter.capture_cgroup], [path.path for path in netfilter.nocapture_cgroup])
            for netfilter in (entry.netfilter for entry in entries)
        ]
        found = classes(conditions)
        self._cases = {group.meant: Sender(group.paths[0], local=False) for group in found}
        local = sum(1 << n for n, entry in enumerate(entries) if entry.netfilter.capture_local_traffic)
        if local:
            for group in found:
                self._cases.setdefault(group.meant & local, Sender(group.paths[0], local=True))
        for meant, sender in _forwarded(entries):
            self._cases.setdefault(meant, sender)
        self._known: dict[tuple[int, ...], list[tuple[Sender, list[int]]]] = {}

    def of(self, positions: tuple[int, ...], budget: Budget) -> list[tuple[Sender, list[int]]]:
        """Return the cases that entries tell apart and one is about, each with those that are, in their order."""
        if positions not in self._known:
            here = sum(1 << position for position in positions)
            cases: dict[int, Sender] = {}
            budget.spend(len(self._cases) // _CASES_A_STEP)
            for meant, sender in self._cases.items():
                cases.setdefault(meant & here, sender)
            cases.pop(0, None)
            self._known[positions] = [(sender, list(_bits(meant))) for meant, sender in cases.items()]
        return self._known[positions]


def _forwarded(entries: Sequence[Entry]) -> Iterator[tuple[int, Sender]]:
    """Yield the cases in which this host forwards the packet, if that is captured by some entry."""
    takes: list[Takes] = []
    refused = 0
    for number, netfilter in enumerate(entry.netfilter for entry in entries):
        known = not netfilter.capture_cgroup
        takes.append(netfilter.forwarded_interfaces if netfilter.forwarded == "capture" and known else None)
        refused |= known << number if netfilter.forwarded == "reject" else 0
    if any(each is not None for each in takes):
        for meant, group in classes_of_interfaces(takes).items():
            words = spelled(group[0], kinds=kinds_matter(takes))
            yield meant | refused, Sender("", local=False, interface=words)


def _bits(number: int) -> Iterator[int]:
    while number:
        yield (number & -number).bit_length() - 1
        number &= number - 1
