"""A question asked of all traffic at once: where is the answer what?

``solve`` cuts the planes by everything that plans and question name, asks once for each cell, class of cgroups, way and
protocol, and joins what has the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from tng_compiler.algebra.cgroups import Class, classes
from tng_compiler.algebra.diagrams import Node, combine, leaves
from tng_compiler.algebra.intervals import Interval
from tng_compiler.algebra.plane import Cell, Plane, Rectangle, plane
from tng_compiler.algebra.space import BITS, EVERY_PORT, FAMILIES, Family
from tng_compiler.model.types import Role
from tng_compiler.plan.doorways import doorways
from tng_compiler.plan.interfaces import Takes, kinds_matter, spelled
from tng_compiler.plan.interfaces import classes as classes_of_interfaces
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.regions.fates import ORDINARY, PROTOCOLS, WAYS, Candidate, Fate, Protocol, Special, State, Way, fate

Row = tuple[int, int, tuple[Interval, ...]]
"""First address, last address, ports."""

NEVER: dict[Family, tuple[str, ...]] = {
    "ipv4": ("0.0.0.0/32", "224.0.0.0/4", "255.255.255.255/32"),
    "ipv6": ("::/128", "ff00::/8"),
}
"""No connection has such a destination: unspecified, multicast, broadcast (RFC 1122, 3.2.1.3; RFC 4291, 2.5.2)."""
LOOPBACK: dict[Family, str] = {"ipv4": "127.0.0.0/8", "ipv6": "::1/128"}
_DNS = (53, 53)


@dataclass(frozen=True, slots=True)
class Named:
    """What the question names: ``boxes`` (family None is both), cgroups with all below them, sets by (name, family).

    ``interfaces`` that forwarded packets came by; a ``*`` at the end is any name that begins so.
    """

    boxes: tuple[tuple[Family | None, int, int, int, int], ...] = ()
    cgroups: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class View:
    """One kind of traffic: ``fates`` in each plan; which of what is ``Named`` holds it."""

    way: Way
    protocol: Protocol
    family: Family
    fates: tuple[Fate, ...]
    boxes: frozenset[int]
    cgroups: frozenset[int]
    sets: frozenset[str]
    interfaces: frozenset[int] = frozenset()
    state: State = ORDINARY


@dataclass(frozen=True, slots=True)
class Region:
    """Traffic with one answer: ``rows`` ascending, disjoint, not empty.

    ``cgroups``: of the socket at this host's end, each without those below it that are named; "" is none that is named.
    None: it does not matter. ``sets``: whether the destination is in them. ``interfaces``: of what is forwarded, by
    which it came in (``plan.interfaces.spelled``); None: it does not matter.
    """

    answer: Any
    way: Way
    protocol: Protocol
    family: Family
    cgroups: tuple[str, ...] | None
    sets: tuple[tuple[str, bool], ...]
    rows: tuple[Row, ...]
    interfaces: tuple[str, ...] | None = None
    state: State = ORDINARY

    @property
    def size(self) -> int:
        """How many destinations, address times port."""
        return sum((last - first + 1) * (high - low + 1) for first, last, ports in self.rows for low, high in ports)


Question = Callable[[View], Hashable | None]


def solve(
    plans: Sequence[Plan], question: Question, named: Named = Named(), *, doors: bool = False
) -> Iterator[Region]:
    """Yield the regions whose answer is not None, in a fixed order; with ``doors`` what comes to one is ``taken``."""
    for role in WAYS:
        for family in FAMILIES:
            yield from _Cut(plans, role, family, named, doors=doors).regions(question)


@dataclass(frozen=True, slots=True)
class _Holder:
    """What a name of a rectangle stands for."""

    plan: int = -1
    position: int = -1
    fact: int | None = None
    box: int = -1
    kind: str = ""
    door: str = ""


class _Cut:
    """The plane of one role and family, the classes of cgroups, and the facts."""

    def __init__(self, plans: Sequence[Plan], role: Role, family: Family, named: Named, *, doors: bool) -> None:
        self._doors = doors
        self._family, self._role, self._named = family, role, named
        self._entries = [plan.of(role) for plan in plans]
        named_sets = {group.name for plan in plans for group in plan.operator_sets} | set(named.sets)
        # By name, so that the same traffic is told apart in the same way whatever the order of the plans.
        self._facts = {name: number for number, name in enumerate(sorted(named_sets))}
        self._holders: list[_Holder] = []
        rectangles = [box for number, plan in enumerate(plans) for box in self._of_plan(number, plan)]
        self._plane: Plane = plane(BITS[family], [*rectangles, *self._of_question()])
        flat = [entry for entries in self._entries for entry in entries]
        conditions = [(_paths(entry, "inside"), _paths(entry, "outside")) for entry in flat]
        asked = [((path,), ()) for path in named.cgroups]
        self._classes = classes([*conditions, *asked])
        self._first_asked = len(flat)
        takes = [entry.takes for entry in flat]
        kinds = kinds_matter(takes)
        asked_of: list[Takes] = [*(None for _ in named.cgroups), *((name,) for name in named.interfaces)]
        self._incoming = [
            Class(tuple(spelled(each, kinds=kinds) for each in group), meant)
            for meant, group in classes_of_interfaces([*takes, *asked_of]).items()
        ]
        self._about = [self._mask(cell) for cell in self._plane.cells]
        self._known: dict[tuple[Way, Protocol, int, int], Any] = {}

    def _name(self, holder: _Holder) -> int:
        self._holders.append(holder)
        return len(self._holders) - 1

    def _of_plan(self, number: int, plan: Plan) -> Iterator[Rectangle]:
        limit = (1 << BITS[self._family]) - 1
        for position, entry in enumerate(plan.of(self._role)):
            name = self._name(_Holder(number, position))
            for region in (*entry.captured, *entry.rejected):
                if region.family == self._family:
                    yield from (Rectangle(name, 0, limit, ports.first, ports.last) for ports in region.ports)
                    yield from (
                        Rectangle(name, box.first, box.last, box.ports.first, box.ports.last) for box in region.boxes
                    )
            for group in (*entry.captured_sets, *entry.rejected_sets):
                if group.family == self._family:
                    inside = self._name(_Holder(number, position, self._facts[group.name]))
                    yield from (Rectangle(inside, 0, limit, ports.first, ports.last) for ports in group.ports)
        if self._role == "egress":
            listener = self._name(_Holder(number, kind="listener"))
            yield from (Rectangle(listener, 0, limit, e.listen_port, e.listen_port) for e in plan.entries)
            for door in doorways(plan) if self._doors else ():
                if door.family == self._family:
                    name = self._name(_Holder(number, kind="door", door=door.door.pointer))
                    yield Rectangle(name, door.box.first, door.box.last, door.box.ports.first, door.box.ports.last)

    def _of_question(self) -> Iterator[Rectangle]:
        every = (EVERY_PORT.first, EVERY_PORT.last)
        yield Rectangle(self._name(_Holder(kind="dns")), 0, (1 << BITS[self._family]) - 1, *_DNS)
        yield Rectangle(self._name(_Holder(kind="loopback")), *_ends(LOOPBACK[self._family]), *every)
        for network in NEVER[self._family]:
            yield Rectangle(self._name(_Holder(kind="never")), *_ends(network), *every)
        for number, (family, first, last, low, high) in enumerate(self._named.boxes):
            if family in (None, self._family):
                last = last if family else (1 << BITS[self._family]) - 1
                yield Rectangle(self._name(_Holder(box=number)), first, last, low, high)

    def regions(self, question: Question) -> Iterator[Region]:
        for way in WAYS[self._role]:
            for protocol in PROTOCOLS:
                # A forwarded packet has no socket here, and no entry tells local traffic by its cgroup.
                groups: Sequence[Class] = self._classes
                if way == "through":
                    groups = self._incoming
                elif way == "within" and not self._named.cgroups:
                    groups = self._classes[:1]
                yield from self._regions(way, protocol, groups, question)

    def _regions(self, way: Way, protocol: Protocol, groups: Sequence[Class], question: Question) -> Iterator[Region]:
        """Join what has one answer: cgroups whose answers are the same in every cell, then those of the same rows."""
        alike: dict[tuple[Any, ...], list[str]] = {}
        for group in groups:
            alike.setdefault(self._ask(way, protocol, group, question), []).extend(group.paths)
        found: dict[tuple[Any, Any, tuple[Row, ...]], list[str]] = {}
        for answers, paths in alike.items():
            for key, joined in self._joined(answers).items():
                found.setdefault((*key, tuple(joined)), []).extend(paths)
        every = sum(len(group.paths) for group in groups)
        names = {fact: name for name, fact in self._facts.items()}
        for (facts, answer, rows), paths in found.items():
            sets = tuple(sorted((names[fact], holds) for fact, holds in facts))
            some = tuple(sorted(paths)) if len(paths) < every else None
            cgroups, interfaces = (None, some) if way == "through" else (some, None)
            yield Region(answer, way, protocol, self._family, cgroups, sets, rows, interfaces)

    def _ask(self, way: Way, protocol: Protocol, group: Class, question: Question) -> tuple[Any, ...]:
        answers = []
        for index, cell in enumerate(self._plane.cells):
            # Of the conditions on cgroups only those of entries that the cell has to do with can matter.
            key = (way, protocol, index, group.meant & self._about[index])
            if key not in self._known:
                self._known[key] = self._answer(way, protocol, cell, key[3], question)
            answers.append(self._known[key])
        return tuple(answers)

    def _mask(self, cell: Cell) -> int:
        asked = len(self._named.cgroups) + len(self._named.interfaces)
        bits = ((1 << asked) - 1) << self._first_asked
        starts = [0]
        for entries in self._entries:
            starts.append(starts[-1] + len(entries))
        for holder in (self._holders[name] for name in cell):
            if holder.position >= 0:
                bits |= 1 << starts[holder.plan] + holder.position
        return bits

    def _answer(self, way: Way, protocol: Protocol, cell: Cell, meant: int, question: Question) -> Any:
        held = [self._holders[name] for name in cell]
        kinds = {holder.kind for holder in held}
        if "never" in kinds or ("loopback" in kinds and way != "within"):
            return None
        fates = []
        before = 0
        for number, entries in enumerate(self._entries):
            listener = any(holder.kind == "listener" and holder.plan == number for holder in held)
            candidates = _candidates(number, entries, held, meant >> before)
            door = next((holder.door for holder in held if holder.kind == "door" and holder.plan == number), "")
            fates.append(fate(way, protocol, self._family, candidates, Special(listener, "dns" in kinds, door)))
            before += len(entries)
        boxes = frozenset(holder.box for holder in held if holder.box >= 0)
        cgroups = frozenset(
            number for number in range(len(self._named.cgroups)) if meant >> self._first_asked + number & 1
        )
        first = self._first_asked + len(self._named.cgroups)
        interfaces = frozenset(number for number in range(len(self._named.interfaces)) if meant >> first + number & 1)
        asked = [self._facts[name] for name in self._named.sets]

        def leaf(values: tuple[Any, ...]) -> Any:
            sets = frozenset(name for name, holds in zip(self._named.sets, values[len(fates) :], strict=True) if holds)
            return question(View(way, protocol, self._family, values[: len(fates)], boxes, cgroups, sets, interfaces))

        return combine((*fates, *(Node(fact, False, True) for fact in asked)), leaf)

    def _joined(self, answers: tuple[Any, ...]) -> dict[tuple[Any, Any], list[Row]]:
        strips = [_answered(strip, answers) for strip in self._plane.strips]
        found: dict[tuple[Any, Any], list[Row]] = {}
        for first, last, index in self._plane.rows:
            for key, ports in strips[index]:
                rows = found.setdefault(key, [])
                if rows and rows[-1][1] + 1 == first and rows[-1][2] == ports:
                    rows[-1] = (rows[-1][0], last, ports)
                else:
                    rows.append((first, last, ports))
        return found


def _answered(strip: Any, answers: tuple[Any, ...]) -> list[tuple[Any, tuple[Interval, ...]]]:
    """Return the ports of a strip by facts and answer."""
    found: dict[Any, list[Interval]] = {}
    for low, high, cell in strip:
        for facts, answer in leaves(answers[cell]):
            if answer is None:
                continue
            ports = found.setdefault((facts, answer), [])
            if ports and ports[-1][1] + 1 == low:
                ports[-1] = (ports[-1][0], high)
            else:
                ports.append((low, high))
    return [(key, tuple(ports)) for key, ports in found.items()]


def _candidates(
    number: int, entries: Sequence[Interception], held: Sequence[_Holder], meant: int
) -> Sequence[Candidate]:
    mine = [holder for holder in held if holder.plan == number and holder.position >= 0]
    mine.sort(key=lambda holder: (holder.position, -1 if holder.fact is None else holder.fact))
    return [Candidate(entries[holder.position], holder.fact, bool(meant >> holder.position & 1)) for holder in mine]


def _paths(entry: Interception, side: str) -> list[str]:
    levels = entry.inside if side == "inside" else entry.outside
    return [path for level in levels for path in level.paths]


def _ends(network: str) -> tuple[int, int]:
    parsed = ip_network(network)
    return int(parsed.network_address), int(parsed.broadcast_address)
