"""Between entries: which packets two of them match, exactly. The first wins, and the author should know.

One walk over the forest of all items of a role. The addresses of a network that are in none of its narrower networks
behave alike, so one of them stands for all: there the items on the path from the root are the whole story. An item is
shadowed in such a place as far as entries before its own have its ports, in one case of senders (``cgroups``). It is
shadowed altogether if that holds in every place and every case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tng_compiler.model.types import Entry
from tng_compiler.plan.cgroups import Sender, classes
from tng_compiler.plan.interfaces import Takes, kinds_matter, spelled
from tng_compiler.plan.interfaces import classes as classes_of_interfaces
from tng_compiler.plan.intervals import Interval, intersect, subtract, union
from tng_compiler.plan.items import Item, items_of
from tng_compiler.plan.types import BITS, FAMILIES, Family

_DOCUMENTATION = (0xC0000201, 0x20010DB8 << 96 | 1)

BUDGET = 10_000_000
"""Comparisons after which the walk gives up, a few seconds: more nested entries than people write."""


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

    @property
    def settled(self) -> bool:
        """Whether more places can change nothing in what is reported."""
        return self.alive and self.winner is not None


@dataclass(slots=True)
class _Node:
    last: int
    items: list[Item]
    free: int
    gap: Interval | None = None


@dataclass(slots=True)
class Precedence:
    """The fates of all items of one role by pointer, in their order; ``complete``: the budget sufficed."""

    fates: dict[str, Fate] = field(default_factory=dict)
    complete: bool = True


def precedence(entries: Sequence[Entry]) -> Precedence:
    """Follow every item of the ``entries`` of one role through those before it."""
    result = Precedence()
    if len(entries) < 2:
        return result
    groups = _groups(entries)
    by_path: dict[int, dict[int, Sender]] = {}
    cost = 0
    for family in FAMILIES:
        nodes: defaultdict[tuple[int, int], list[Item]] = defaultdict(list)
        for position, entry in enumerate(entries):
            if family == "ipv6" and entry.netfilter.ipv6 == "bypass":
                continue
            for item in items_of(entry.netfilter, family, position):
                nodes[item.first, item.length].append(item)
                result.fates.setdefault(item.pointer, Fate(item))
        for address, path in _places(BITS[family], nodes):
            cost += len(path)
            if cost > BUDGET:
                result.complete = False
                return result
            if all(result.fates[item.pointer].settled for item in path):
                continue
            cases = _cases(path, groups, by_path)
            cost += len(cases)
            for meant, case in cases.items():
                matching = [item for item in path if meant >> item.entry & 1]
                cost += len(path) + (len(matching) ** 2 if meant & meant - 1 else 0)
                if cost > BUDGET:
                    result.complete = False
                    return result
                _judge(result.fates, family, address, matching, case)
    return result


def _groups(entries: Sequence[Entry]) -> dict[int, Sender]:
    """Return a case of senders for each different set of entries, as bits, that capture in it."""
    conditions = [
        ([path.path for path in netfilter.capture_cgroup], [path.path for path in netfilter.nocapture_cgroup])
        for netfilter in (entry.netfilter for entry in entries)
    ]
    found = classes(conditions)
    groups = {group.meant: Sender(group.paths[0], local=False) for group in found}
    local = sum(1 << n for n, entry in enumerate(entries) if entry.netfilter.capture_local_traffic)
    if local:
        for group in found:
            groups.setdefault(group.meant & local, Sender(group.paths[0], local=True))
    return groups | {meant: case for meant, case in _forwarded(entries) if meant not in groups}


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


def _cases(path: Sequence[Item], groups: dict[int, Sender], known: dict[int, dict[int, Sender]]) -> dict[int, Sender]:
    """Return the cases that the entries of one place tell apart."""
    here = 0
    for item in path:
        here |= 1 << item.entry
    if here not in known:
        known[here] = {}
        for meant, case in groups.items():
            known[here].setdefault(meant & here, case)
    return known[here]


def _places(bits: int, nodes: dict[tuple[int, int], list[Item]]) -> Iterator[tuple[int, list[Item]]]:
    """Yield an address for each network that is not wholly made of narrower ones, and the items that contain it."""
    path: list[_Node] = []
    for first, length in sorted(nodes):
        while path and path[-1].last < first:
            yield from _leave(path)
        last = first + (1 << (bits - length)) - 1
        if path:
            parent = path[-1]
            if parent.gap is None and parent.free < first:
                parent.gap = (parent.free, first - 1)
            parent.free = last + 1
        path.append(_Node(last, nodes[first, length], first))
    while path:
        yield from _leave(path)


def _leave(path: list[_Node]) -> Iterator[tuple[int, list[Item]]]:
    node = path[-1]
    if node.gap is None and node.free <= node.last:
        node.gap = (node.free, node.last)
    if node.gap is not None:
        yield _example(*node.gap), [item for around in path for item in around.items]
    path.pop()


def _example(first: int, last: int) -> int:
    """An address for people: one of those for documentation (RFC 5737, RFC 3849), or else a host's."""
    for address in _DOCUMENTATION:
        if first <= address <= last and (last < 1 << 32 or address >= 1 << 32):
            return address
    return min(first + 1, last)


def _judge(fates: dict[str, Fate], family: Family, address: int, path: list[Item], case: Sender) -> None:
    taken: list[Interval] = []
    before: list[Item] = []
    by_entry: defaultdict[int, list[Item]] = defaultdict(list)
    for item in path:
        by_entry[item.entry].append(item)
    for position in sorted(by_entry):
        for item in by_entry[position]:
            fate = fates[item.pointer]
            if fate.settled:
                continue
            fate.alive = fate.alive or bool(subtract([item.ports], taken))
            shared = intersect([item.ports], taken) if fate.winner is None else ()
            if shared:
                port = shared[0][0]
                fate.winner = next(other for other in before if other.ports[0] <= port <= other.ports[1])
                fate.family, fate.address, fate.port, fate.sender = family, address, port, case
        before += by_entry[position]
        taken = union([*taken, *(item.ports for item in by_entry[position])])
