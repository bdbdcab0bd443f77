"""What a flow leaves open, part by part: the values that differ to the rules, given what is decided already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Literal

from tng_compiler.algebra.space import BITS, EVERY_PORT, FAMILIES, Box, Family, Ports
from tng_compiler.explain.ends import LOOPBACK, End
from tng_compiler.explain.flow import Flow, Speaker
from tng_compiler.explain.situation import CLIENT_PORT, MULTICAST, Situation
from tng_compiler.explain.space import Named, Place, Span, places, ports, without
from tng_compiler.plan.doorways import doorways
from tng_compiler.plan.interfaces import kinds_matter, spelled, told_apart
from tng_compiler.plan.names import operator
from tng_compiler.plan.types import Plan
from tng_compiler.rules import tree
from tng_compiler.rules.packet import Way

MOST_SETS = 6
WELL_KNOWN = (443, 80, 22, 8080, 1024)
WAYS: dict[Way, str] = {
    "out": "this host sends it to another",
    "in": "it arrives for this host",
    "within": "this host sends it to itself",
    "through": "this host forwards it",
}

Kind = Literal[
    "direction",
    "family",
    "address",
    "port",
    "source",
    "source port",
    "cgroup",
    "interface",
    "set",
    "connection tracking",
    "side that speaks first",
]


@dataclass(frozen=True, slots=True)
class Value:
    """One value of a part: the situation with it, and what it is: words, or inclusive intervals of numbers."""

    situation: Situation
    what: str | tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a flow and how it is filled in."""

    kind: Kind
    values: Callable[[Situation], Sequence[Value]]


class World:
    """The rules of a plan, by what they compare with."""

    def __init__(self, plan: Plan, table: tree.Table) -> None:
        self.plan = plan
        self.table = table
        self.doors = tuple(doorways(plan))
        self._others = tuple(group for group in table.sets if not isinstance(group, tree.AddressSet))
        self._boxes = tuple(group for group in table.sets if isinstance(group, tree.AddressSet))

    def named(self, family: Family) -> Iterator[Named]:
        """Every box of a family with its set's name."""
        for group in self._boxes:
            if group.family == family:
                name = group.name
                for box in group.boxes:
                    yield name, box

    def seen_by(self, situation: Situation) -> tree.Table:
        """The table with only those boxes that hold an address of the situation: every lookup has the same answer."""
        held: dict[str, list[Box]] = {group.name: [] for group in self._boxes}
        for name, box in dict.fromkeys((*situation.destination.boxes, *situation.source.boxes)):
            if name in held:
                held[name].append(box)
        sets = tuple(replace(group, boxes=tuple(held[group.name])) for group in self._boxes)
        return replace(self.table, sets=(*self._others, *sets))


def start(flow: Flow) -> Situation:
    """What the flow says outright."""
    return Situation(
        protocol=flow.protocol or "tcp",
        newer=flow.newer,
        mark=flow.mark,
        established=flow.established,
        runtime=flow.runtime,
    )


def parts(flow: Flow, world: World) -> tuple[Part, ...]:
    """Every part in the order in which it is filled in; one that the flow names has one value."""
    found = [
        Part("direction", partial(_ways, flow)),
        Part("family", partial(_families, flow)),
        Part("address", partial(_addresses, flow, world)),
        Part("port", partial(_ports, flow, world)),
    ]
    if flow.source.addresses or flow.established:
        found.append(Part("source", partial(_sources, flow, world)))
    if flow.source.ports:
        found.append(Part("source port", partial(_source_ports, flow, world)))
    found += [
        Part("cgroup", partial(_cgroups, flow, world.plan)),
        Part("interface", partial(_interfaces, flow, world.plan)),
        Part("set", partial(_sets, flow, world.plan)),
    ]
    if flow.established:
        found += [
            Part("connection tracking", partial(_tracking, flow)),
            Part("side that speaks first", partial(_speakers, flow)),
        ]
    return tuple(found)


def ways(flow: Flow) -> tuple[Way, ...]:
    """The ways that the flow may go. An address does not say whose it is; the direction, ``local`` and loopback do."""
    source, destination = flow.source, flow.destination
    if flow.direction == "forwarded" or flow.interface is not None:
        return ("through",)
    if flow.direction == "ingress":
        return ("within",) if destination.here else ("out",)
    if flow.direction == "egress":
        return ("within",) if source.here else ("in",)
    found: tuple[Way, ...] = ("out", "in", "within", "through")
    if destination.here:
        loopback = destination.addresses is not None and not destination.local
        found = ("within",) if source.here or (loopback and not source.elsewhere) else ("in", "within")
        if loopback and source.elsewhere:
            found = ("in",)
    elif source.here:
        found = ("out", "within")
    if flow.mark:
        found = tuple(way for way in found if way in ("out", "within")) or found
    return tuple(way for way in found if way != "through") if flow.cgroup is not None else found


def _ways(flow: Flow, situation: Situation) -> list[Value]:
    return [Value(replace(situation, way=way), WAYS[way]) for way in ways(flow)]


def _families(flow: Flow, situation: Situation) -> list[Value]:
    given = flow.source.family or flow.destination.family
    families = (given,) if given else FAMILIES
    return [Value(replace(situation, family=family), f"IPv{family[-1]}") for family in families]


def _addresses(flow: Flow, world: World, situation: Situation) -> list[Value]:
    found = _places(flow.destination, world, situation, flow.destination.ports or EVERY_PORT)
    return [Value(replace(situation, destination=place), place.spans) for place in found]


def _sources(flow: Flow, world: World, situation: Situation) -> list[Value]:
    found = _places(flow.source, world, situation, flow.source.ports or Ports(CLIENT_PORT, CLIENT_PORT))
    if not flow.established:
        # The rules do not ask a first packet where it comes from.
        found = found[:1]
    return [Value(replace(situation, source=place), place.spans) for place in found]


def _places(end: End, world: World, situation: Situation, at: Ports) -> list[Place]:
    family = situation.family
    whole = (0, (1 << BITS[family]) - 1)
    domain: tuple[Span, ...] = (end.addresses,) if end.addresses else (whole,)
    if situation.way != "within" and not end.addresses:
        # Loopback is on no wire.
        domain = without(whole, LOOPBACK[family])
    special: list[Named] = [("loopback", Box(*LOOPBACK[family], EVERY_PORT))]
    if situation.way in ("in", "within") and situation.protocol == "tcp":
        special += [(door.pointer, door.box) for door in world.doors if door.family == family]
    if situation.protocol == "udp":
        special.append(("multicast", Box(*MULTICAST[family], EVERY_PORT)))
    return places(chain(special, world.named(family)), domain, (at.first, at.last))


def _ports(flow: Flow, world: World, situation: Situation) -> list[Value]:
    given = flow.destination.ports or EVERY_PORT
    sides: tuple[tree.Side, ...] = ("destination", "source") if flow.established else ("destination",)
    found = _cut(world, sides, situation.destination, (given.first, given.last))
    return [Value(replace(situation, port=_one_of(span)), (span,)) for span in found]


def _one_of(span: Span) -> int:
    """A port to stand for the others, one that people know if there is one."""
    return next((port for port in WELL_KNOWN if span[0] <= port <= span[1]), span[0])


def _source_ports(flow: Flow, world: World, situation: Situation) -> list[Value]:
    given = flow.source.ports or EVERY_PORT
    span = (given.first, given.last)
    found = _cut(world, ("source", "destination"), situation.source, span) if flow.established else [span]
    return [Value(replace(situation, source_port=each[0]), (each,)) for each in found]


def _cut(world: World, sides: Sequence[tree.Side], place: Place, domain: Span) -> list[Span]:
    spans = [domain]
    for side in sides:
        spans = [cut for span in spans for cut in ports(world.table.chains, side, place.boxes, span)]
    return spans


def _cgroups(flow: Flow, plan: Plan, situation: Situation) -> list[Value]:
    if situation.way == "through":
        return [Value(situation, "")]
    if flow.cgroup is not None:
        return [Value(replace(situation, cgroup=flow.cgroup), f"cgroup /{flow.cgroup}")]
    named = {path for entry in plan.entries for level in (*entry.inside, *entry.outside) for path in level.paths}
    other = Value(situation, "none that the configuration names")
    return [Value(replace(situation, cgroup=path), f"/{path}") for path in sorted(named)] + [other]


def _interfaces(flow: Flow, plan: Plan, situation: Situation) -> list[Value]:
    if situation.way != "through":
        return [Value(situation, "")]
    takes = [entry.takes for entry in plan.entries]
    name, inside = flow.interface or (None, None)
    found = [
        each if name is None else replace(each, name=name)
        for each in told_apart(takes)
        if inside is None or each.inside == inside or not kinds_matter(takes)
    ]
    kinds = kinds_matter(takes)
    return [Value(replace(situation, incoming=each), spelled(each, kinds=kinds)) for each in dict.fromkeys(found)]


def _sets(flow: Flow, plan: Plan, situation: Situation) -> list[Value]:
    """Alone, in none, and in all pairs: more at once differ in nothing, since the first entry that matches decides."""
    family = situation.family
    names = [group.name for group in plan.operator_sets if group.family == family]
    if flow.sets is not None:
        # The document has one name for the sets of both families.
        said = {operator(name, family) for name in flow.sets} | flow.sets
        return [Value(replace(situation, sets=frozenset(names) & said), "as said")]
    found = [Value(replace(situation, sets=frozenset({name})), name) for name in names]
    if len(names) <= MOST_SETS:
        found += [
            Value(replace(situation, sets=frozenset({one, other})), f"{one} and {other}")
            for number, one in enumerate(names)
            for other in names[number + 1 :]
        ]
    return [*found, Value(replace(situation, sets=frozenset()), "none of the operator's")]


def _tracking(flow: Flow, situation: Situation) -> list[Value]:
    values = {True: "connection tracking knew it before", False: "nothing tracked it before"}
    chosen = values if flow.tracked is None else {flow.tracked: values[flow.tracked]}
    return [Value(replace(situation, tracked=tracked), what) for tracked, what in chosen.items()]


def _speakers(flow: Flow, situation: Situation) -> list[Value]:
    speakers: tuple[Speaker, ...] = (flow.speaker,) if flow.speaker else ("client", "service")
    return [Value(replace(situation, first=speaker), f"the {speaker} speaks first") for speaker in speakers]
