"""Near misses: the entries that one change of the flow would have made capture it, each tried by asking the rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tng_compiler.algebra.space import Box
from tng_compiler.algebra.text import span_text
from tng_compiler.explain.answer import Miss
from tng_compiler.explain.items import covering
from tng_compiler.explain.open_parts import World
from tng_compiler.explain.situation import Situation, outcome
from tng_compiler.explain.space import Place, places
from tng_compiler.model.types import Config
from tng_compiler.plan import names
from tng_compiler.plan.interfaces import Incoming
from tng_compiler.plan.types import Interception
from tng_compiler.rules.tree import Jump, Table

MOST_ENTRIES, MOST_MISSES, MOST_CGROUPS = 64, 8, 8


def near_misses(world: World, config: Config, situation: Situation, captor: Interception | None) -> tuple[Miss, ...]:
    """Return what would have been captured, and by whom, if one thing were different; at most eight.

    ``captor`` is the entry that the flow was redirected by.
    """
    found = []
    for entry in world.plan.entries[:MOST_ENTRIES]:
        if entry is captor:
            continue
        if change := next(_changes(world, config, situation, entry, captor), None):
            found.append(Miss(entry.pointer, change))
    return tuple(found[:MOST_MISSES])


def _changes(
    world: World, config: Config, situation: Situation, entry: Interception, captor: Interception | None
) -> Iterator[str]:
    def would(changed: Situation, table: Table | None = None) -> bool:
        decision = outcome(world.plan, table or world.seen_by(changed), changed)
        return decision.fate == "captured" and decision.port == entry.listen_port

    if captor is not None and would(situation, _without(world.seen_by(situation), captor)):
        yield f"would capture it too, but {captor.pointer} comes first"
    for changed, words in _other(situation, entry, world):
        if would(changed):
            yield words
    for cgroup in _cgroups(entry):
        if would(replace(situation, cgroup=cgroup)):
            yield _why_not(situation.cgroup, entry, config)
            break
    yield from _elsewhere(world, situation, entry, would)
    if situation.family == "ipv6" and entry.ipv6 == "bypass" and (item := covering(config, entry, situation)):
        yield f"leaves IPv6 alone (ipv6: bypass), and {item} names the destination"


def _other(situation: Situation, entry: Interception, world: World) -> Iterator[tuple[Situation, str]]:
    if situation.protocol == "udp":
        yield replace(situation, protocol="tcp"), "would capture TCP to there; UDP is not carried"
    if situation.established:
        yield replace(situation, established=False), "would capture a new connection; this one is older than the rules"
    if situation.mark in world.plan.marks:
        words = f"would capture it, but the socket carries mark {situation.mark}: the runtime's own"
        yield replace(situation, mark=0), words
    if situation.newer:
        yield replace(situation, newer=False), "would capture it once the runtime has looked the cgroup up"
    if situation.way == "through" and entry.role == "ingress":
        if entry.takes is not None:
            name = entry.takes[0] if entry.takes else situation.incoming.name
            other = Incoming(name, inside=True)
            named = " or ".join(entry.takes[:3]) or "a bridge or veth that does not lead to its destination"
            yield replace(situation, incoming=other), f"would capture it from {named}"
        yield replace(situation, way="out"), "would capture it if this host sent it; what it forwards is not captured"
    if situation.way == "within" and entry.role == "ingress":
        yield replace(situation, way="out"), "would capture it to another host; this does not leave the host"
    if situation.way == "within" and entry.role == "egress" and not entry.local_traffic:
        words = "would capture it from another host; capture_local_traffic is not set"
        yield replace(situation, way="in"), words
    family = situation.family
    for group in entry.captured_sets:
        if group.family == family and group.name not in situation.sets:
            words = f"would capture it if set {group.name} held the destination"
            yield replace(situation, sets=situation.sets | {group.name}), words


def _cgroups(entry: Interception) -> list[str]:
    inside = [path for level in entry.inside for path in level.paths]
    return inside[:MOST_CGROUPS] or ([""] if entry.outside else [])


def _why_not(cgroup: str, entry: Interception, config: Config) -> str:
    netfilter = next(each.netfilter for each in config.entries if each.pointer == entry.pointer)
    for path in netfilter.nocapture_cgroup:
        if cgroup == path.path or cgroup.startswith(f"{path.path}/"):
            return f"would capture it, but {path.pointer} excludes the cgroup /{cgroup}"
    wanted = ", ".join(f"/{path.path}" for path in netfilter.capture_cgroup[:3])
    more = "" if len(netfilter.capture_cgroup) <= 3 else " and others"
    return f"would capture it from cgroup {wanted}{more}; this is /{cgroup}"


def _elsewhere(
    world: World, situation: Situation, entry: Interception, would: Callable[[Situation], bool]
) -> Iterator[str]:
    """The nearest port that is captured at the address, then the nearest address at the port."""
    name = names.boxes(entry, situation.family)
    here = [box.ports for owner, box in situation.destination.boxes if owner == name]
    here += [ports for region in entry.captured if region.family == situation.family for ports in region.ports]
    port = situation.port
    nearest = min((min(max(port, each.first), each.last) for each in here), key=lambda at: abs(at - port), default=port)
    if nearest != port and would(replace(situation, port=nearest)):
        yield f"would capture port {nearest} there, not {port}"
    address = situation.destination.address
    best: Box | None = None
    for region in entry.captured:
        if region.family == situation.family:
            inside = (box for box in region.boxes if box.ports.first <= port <= box.ports.last)
            best = min(inside, key=lambda box: max(box.first - address, address - box.last), default=None)
    if best is not None and not best.first <= address <= best.last:
        other = min(max(address, best.first), best.last)
        place: Place = places(world.named(situation.family), [(other, other)])[0]
        if would(replace(situation, destination=place)):
            yield f"would capture port {port} at {span_text(situation.family, best.first, best.last)}"


def _without(table: Table, captor: Interception) -> Table:
    """The table as if ``captor`` did not redirect."""
    chains = tuple(
        replace(chain, rules=tuple(rule for rule in chain.rules if rule.verdict != Jump(captor.name)))
        for chain in table.chains
    )
    return replace(table, chains=chains)
