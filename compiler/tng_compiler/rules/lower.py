"""The plan as a rule tree: what a packet meets, decided once for every backend.

Facts of Linux 6 that the rules depend on:

- A nat chain sees the first packet of a connection only; conntrack picks up a connection in mid-stream and calls it
  new.
- Priorities are numeric and odd: at equal priorities the table that was loaded last would win. -105 is before the
  usual -100, -305 before everything that tracks connections (-200).
- A redirect on an output hook goes to 127.0.0.1 or ::1, on prerouting to an address of the incoming interface; it drops
  what came by one without an address (nf_nat_redirect.c).
- A lookup that lacks its operand (no socket, no conntrack) ends the rule without a match. So conditions are written as
  what must hold for *leaving* protection, never the other way round.
- A set of cgroups holds ids that were found by path when it was loaded; a cgroup that is made anew has another. So a
  third answer stands between inside and outside: not in ``known_cgroups``, and refused. A socket in a cgroup that is
  not that deep has no ancestor to compare, and is rightly neither.
- Local is what goes out or came over ``lo``. An address that some interface of the host has may belong to a neighbour
  on another link as well (fe80::1), and anycast is what a router on the link says it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules.destinations import listening, strays
from tng_compiler.rules.entries import entry_chains, keepers, kept, without_sender
from tng_compiler.rules.guard import guard_chains, jumps, local_entries
from tng_compiler.rules.tree import (
    AddressSet,
    AddressType,
    AtListener,
    Base,
    CameBy,
    CameFromInside,
    CgroupSet,
    Chain,
    Counter,
    Goto,
    InBoxes,
    InCgroup,
    InOperatorSet,
    Jump,
    Match,
    OperatorAddresses,
    OverLoopback,
    Return,
    Rule,
    SetDefinition,
    SetZone,
    SocketMark,
    States,
    Status,
    Table,
)
from tng_compiler.rules.way_back import STRAY_ANSWERS, way_back_chains
from tng_schema import contract

RAW_PRIORITY = -305
OWNED = ("own_zone", "guard_output", "guard_input", "guard_forward", STRAY_ANSWERS)
NAT_PRIORITY = -105
# Behind filters (0), security modules (50 to 225) and helpers (300): linux/netfilter_ipv4.h.
ARRIVALS_PRIORITY = 305


def lower(plan: Plan) -> Table:
    """Return the table of ``plan``, an empty one if it captures nothing."""
    if not plan.entries:
        return Table(plan.instance, ("captures nothing",), (), (), ())
    return Table(
        name=plan.instance,
        notes=tuple(f"{entry.pointer} -> port {entry.listen_port}, mark {entry.so_mark:#x}" for entry in plan.entries),
        counters=tuple(_counters(plan)),
        sets=tuple(_sets(plan)),
        chains=tuple(_chains(plan)),
    )


def owned_guard(table: Table, name: str) -> Table:
    """Return what of ``table`` refuses, as the table ``name``; its counters and sets are its own.

    It comes after ``table`` on each hook, whose counters so count as ever. The zone of our own connections belongs to
    it: without it their next packets would be taken for connections of somebody else. What only a redirect could lead
    astray does not, for there is none in it.
    """
    base = [chain for chain in table.chains if chain.base and chain.name in OWNED]
    wanted = {chain.name for chain in base}
    while found := {target for chain in table.chains if chain.name in wanted for target in _targets(chain)} - wanted:
        wanted |= found
    chains = tuple(
        replace(chain, base=replace(chain.base, priority=chain.base.priority + 2)) if chain.base else chain
        for chain in table.chains
        if chain.name in wanted
    )
    counters = {rule.counter for chain in chains for rule in chain.rules}
    sets = {name for chain in chains for rule in chain.rules for match in rule.matches for name in _sets_of(match)}
    return Table(
        name=name,
        notes=(),
        counters=tuple(counter for counter in table.counters if counter.name in counters),
        sets=tuple(_to_be_filled(group) for group in table.sets if group.name in sets),
        chains=chains,
    )


def _to_be_filled(group: SetDefinition) -> SetDefinition:
    """A path that is not there would refuse the whole text; the runtime fills sets of cgroups with those that are."""
    return replace(group, paths=()) if isinstance(group, CgroupSet) else group


def _targets(chain: Chain) -> set[str]:
    return {rule.verdict.chain for rule in chain.rules if isinstance(rule.verdict, (Jump, Goto))}


def _sets_of(match: Match) -> tuple[str, ...]:
    return (match.set,) if isinstance(match, (InBoxes, InOperatorSet, InCgroup)) else ()


def _counters(plan: Plan) -> Iterator[Counter]:
    yield Counter(contract.DIRECT, "connections that went to a listen port without the redirect")
    yield Counter(contract.SQUATTED, "packets for a listen port that somebody else has taken")
    yield Counter(contract.STRAYED, "packets for a loopback address that were not on lo")
    yield Counter(names.ASTRAY, "answers to own sockets of the runtime that would have left this host")
    for entry in plan.entries:
        yield Counter(names.captured(entry), entry.pointer)
        yield Counter(names.rejected(entry), entry.pointer)
    # A dump shows counters in this order: what is on its way between the two is not taken for lost.
    for entry in plan.entries:
        yield Counter(names.arrived(entry), entry.pointer)


def _sets(plan: Plan) -> Iterator[SetDefinition]:
    for group in plan.operator_sets:
        yield OperatorAddresses(group.name, group.family, "filled by the runtime with the ipset of the operator")
    for level in plan.known_levels:
        comment = "filled by the runtime; a cgroup of this depth that is not in here reaches nothing captured"
        yield CgroupSet(names.known(level), level, (), comment)
    for entry in plan.entries:
        for name, cgroups in names.own_cgroups(entry):
            yield CgroupSet(name, cgroups.level, cgroups.paths, entry.pointer)
        for region in (*entry.captured, *entry.rejected):
            if region.boxes:
                yield AddressSet(names.boxes(entry, region.family), region.family, region.boxes, entry.pointer)


def _chains(plan: Plan) -> Iterator[Chain]:
    for entry in plan.entries:
        yield from entry_chains(entry, plan)
    yield from _raw(plan)
    yield from _capture(plan)
    yield from guard_chains(plan)
    yield from way_back_chains(plan)
    yield _arrivals(plan)


def _raw(plan: Plan) -> Iterator[Chain]:
    """Before connection tracking: our own connections get a tuple space of their own, and martians end.

    A redirect in prerouting comes before the kernel's own check of loopback destinations (ip_route_input_slow).
    """
    own = SocketMark("sender", plan.marks)
    zone = Rule((own,), SetZone(plan.zone), "own connections are not taken for an application's")
    yield Chain("own_zone", (zone,), Base("filter", "output", RAW_PRIORITY, ("tcp",)))
    if plan.of("egress") or _takers(plan):
        yield Chain("strays_prerouting", strays("came"), Base("filter", "prerouting", RAW_PRIORITY))


def _capture(plan: Plan) -> Iterator[Chain]:
    ingress, egress = plan.of("ingress"), plan.of("egress")
    local = local_entries(plan)
    ours = Rule((listening("destination", plan.entries),), Return(), "the guard answers who dials a listener")
    if local:
        yield Chain("capture_local", (ours, *jumps(local, "")))
    if ingress or local:
        here = OverLoopback("leaves")
        stays = Rule((here,), Goto("capture_local"), "sent by this host to itself") if local else _stays(here)
        rules = [_own(plan), stays, *jumps(ingress, "")]
        yield Chain("capture_output", tuple(rules), Base("nat", "output", NAT_PRIORITY, ("tcp",)))
    if takers := _takers(plan):
        yield Chain("capture_forwarded", tuple(_forwarded(plan)))
    if egress or takers:
        elsewhere = AddressType("destination", ("local",), negated=True)
        forwards = Rule((elsewhere,), Goto("capture_forwarded"), "this host forwards it")
        rules = [
            Rule((OverLoopback("came"),), Return(), "sent by this host to itself"),
            forwards if takers else Rule((elsewhere,), Return(), "not for this host"),
            *([ours, *jumps(egress, "")] if egress else []),
        ]
        yield Chain("capture_prerouting", tuple(rules), Base("nat", "prerouting", NAT_PRIORITY, ("tcp",)))


def _arrivals(plan: Plan) -> Chain:
    """Count connections where the filters of the input hook have let them pass; decides nothing.

    Not in a nat chain: on input that sees no connection that this host has opened (nf_nat_inet_fn). A first packet that
    comes again, because the listener had no room, counts again.
    """
    came = Status("dnat"), States(("new",))
    rules = [
        Rule((AtListener("destination", (entry.listen_port,)), *came), Return(), entry.pointer, names.arrived(entry))
        for entry in plan.entries
    ]
    return Chain("arrivals", tuple(rules), Base("filter", "input", ARRIVALS_PRIORITY, ("tcp",)), counts=True)


def _takers(plan: Plan) -> list[Interception]:
    return [entry for entry in plan.entries if entry.takes_forwarded]


def _forwarded(plan: Plan) -> Iterator[Rule]:
    """What is forwarded has no socket here: the interface and the destinations alone decide."""
    refused = keepers(plan)
    for entry in plan.entries:
        if entry.takes_forwarded:
            names_ = entry.forwarded_interfaces
            came = CameBy(names_) if names_ else CameFromInside()
            yield Rule((came,), Jump(without_sender(entry, entry.name)), entry.pointer)
        elif entry in refused:
            yield Rule((), Jump(kept(entry)), entry.pointer)


def _own(plan: Plan) -> Rule:
    return Rule((SocketMark("sender", plan.marks),), Return(), "own sockets of the runtime")


def _stays(here: OverLoopback) -> Rule:
    return Rule((here,), Return(), "does not leave this host")
