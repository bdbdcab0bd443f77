"""The plan as a rule tree: what a packet meets, decided once for every backend.

Per entry: a chain that redirects (nat) and chains that refuse (filter), with the same conditions over the same sets. A
``return`` in an entry's chain goes on to the next entry, which is what "the first in the document wins" means.

Facts of Linux 6 that the rules depend on:

- A nat chain sees the first packet of a connection only; conntrack picks up a connection in mid-stream and calls it
  new.
- Priorities are numeric and odd: at equal priorities the table that was loaded last would win. -105 is before the
  usual -100.
- A redirect on an output hook goes to 127.0.0.1 or ::1, on prerouting to an address of the incoming interface.
- A lookup that lacks its operand (no socket, no conntrack) ends the rule without a match. So conditions are written as
  what must hold for *leaving* protection, never the other way round.
- A set of cgroups holds ids that were found by path when it was loaded; a cgroup that is made anew has another. So a
  third answer stands between inside and outside: not in ``known_cgroups``, and refused. A socket in a cgroup that is
  not that deep has no ancestor to compare, and is rightly neither.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules import names
from tng_compiler.rules.destinations import destinations
from tng_compiler.rules.tree import (
    Accept,
    AddressSet,
    AddressType,
    AtListener,
    Base,
    CgroupSet,
    Chain,
    Counter,
    Direction,
    Flag,
    Goto,
    InCgroup,
    Jump,
    Match,
    OperatorAddresses,
    PacketMark,
    Protocols,
    Redirect,
    Reset,
    Return,
    Rule,
    SetDefinition,
    Side,
    States,
    Status,
    Table,
    TcpFlags,
)

NAT_PRIORITY = -105
GUARD_PRIORITY = -5
_HANDSHAKE: tuple[Flag, ...] = ("fin", "syn", "rst", "ack")
_NOT_TCP = Rule((Protocols(("tcp",), negated=True),), Return())
_RESET = Rule((TcpFlags(("rst",), ("rst",)),), Return(), "ends a connection, carries nothing")
_STAYS = AddressType("destination", ("local", "broadcast", "anycast", "multicast"))


def lower(plan: Plan) -> Table:
    """Return the table of ``plan``."""
    return Table(
        name=plan.instance,
        notes=tuple(f"{entry.pointer} -> port {entry.listen_port}, mark {entry.so_mark:#x}" for entry in plan.entries),
        counters=tuple(_counters(plan)),
        sets=tuple(_sets(plan)),
        chains=(*_entry_chains(plan), *_base_chains(plan)),
    )


def _counters(plan: Plan) -> Iterator[Counter]:
    yield Counter("direct_to_listener", "connections that went to a listen port without the redirect")
    for entry in plan.entries:
        for what in ("captured", "rejected"):
            yield Counter(f"{entry.name}_{what}", entry.pointer)


def _sets(plan: Plan) -> Iterator[SetDefinition]:
    for group in plan.operator_sets:
        yield OperatorAddresses(group.name, group.family, "filled by the operator, kept when the table is replaced")
    for level in plan.known_levels:
        comment = "filled by the runtime; a cgroup of this depth that is not in here reaches nothing captured"
        yield CgroupSet(names.known(level), level, (), comment)
    for entry in plan.entries:
        for name, cgroups in names.own_cgroups(entry):
            yield CgroupSet(name, cgroups.level, cgroups.paths, entry.pointer)
        for region in (*entry.captured, *entry.rejected):
            if region.boxes:
                yield AddressSet(names.boxes(entry, region.family), region.family, region.boxes, entry.pointer)


def _entry_chains(plan: Plan) -> Iterator[Chain]:
    for entry in plan.entries:
        # A nat chain cannot reject: accept keeps the packet from later entries, and the guard answers it.
        captured = [Rule(match, Accept()) for match in destinations(entry, entry.rejected, entry.rejected_sets)]
        captured += [
            Rule(match, Redirect(entry.listen_port), counter=f"{entry.name}_captured")
            for match in destinations(entry, entry.captured, entry.captured_sets)
        ]
        local = entry.role == "egress" and not entry.local_traffic
        remote_only = [Rule((AddressType("source", ("local",)),), Return())] if local else []
        untouched = [Rule(match, Accept()) for match in _everything(entry, "destination")]
        yield from _chains(entry, entry.name, remote_only, captured, untouched)
        yield from _chains(entry, f"{entry.name}_guard", remote_only, _rejections(entry, "destination"))
        yield from _chains(entry, f"{entry.name}_answers", [], _rejections(entry, "source"))


def _everything(entry: Interception, side: Side) -> Iterator[tuple[Match, ...]]:
    regions, sets = (*entry.captured, *entry.rejected), (*entry.captured_sets, *entry.rejected_sets)
    return destinations(entry, regions, sets, side)


def _rejections(entry: Interception, side: Side) -> list[Rule]:
    return [Rule(match, Reset(), counter=f"{entry.name}_rejected") for match in _everything(entry, side)]


def _chains(
    entry: Interception, name: str, exempt: list[Rule], verdicts: list[Rule], unknown: list[Rule] | None = None
) -> Iterator[Chain]:
    """Yield the chain of one entry and one purpose: who is exempt, who is meant, then which destinations.

    Several depths of ``capture_cgroup`` are alternatives, and a socket without a cgroup must match none of them: so
    each depth leads by ``goto`` to one chain with the destinations, instead of a negated match that returns.

    ``unknown``: the verdicts for a cgroup that is newer than the rules, which may be a captured one made anew; None is
    the same as for what is meant.
    """
    outside = [InCgroup(level.level, names.cgroups(entry, "outside", level)) for level in entry.outside]
    conditions = [*exempt, *(Rule((match,), Return()) for match in outside)]
    if entry.inside:
        inside = [InCgroup(level.level, names.cgroups(entry, "inside", level)) for level in entry.inside]
        conditions += [Rule((match,), Goto(f"{name}_destinations")) for match in inside]
        yield Chain(f"{name}_destinations", _commented(verdicts, entry.pointer))
        if unknown is not None:
            yield Chain(f"{name}_unknown", _commented(unknown, entry.pointer))
        strangers = f"{name}_destinations" if unknown is None else f"{name}_unknown"
        levels = [level.level for level in entry.inside]
        verdicts = [Rule((InCgroup(n, names.known(n), negated=True),), Goto(strangers)) for n in levels]
    yield Chain(name, _commented(conditions + verdicts, entry.pointer))


def _base_chains(plan: Plan) -> Iterator[Chain]:
    ingress, egress = plan.of("ingress"), plan.of("egress")
    local = [entry for entry in egress if entry.local_traffic]
    own = Rule((PacketMark(plan.marks),), Return(), "own sockets of the runtime")
    if local:
        yield Chain("capture_local", tuple(_jumps(local, "")))
    if ingress or local:
        stays = AddressType("destination", ("broadcast", "anycast", "multicast")) if local else _STAYS
        rules = [own, Rule((stays,), Return(), "never captured by an ingress")]
        if local:
            here = AddressType("destination", ("local",))
            rules.append(Rule((here,), Goto("capture_local"), "sent by this host to itself"))
        yield Chain("capture_output", (*rules, *_jumps(ingress, "")), Base("nat", "output", NAT_PRIORITY))
    if egress:
        arrives = Rule((AddressType("destination", ("local",), negated=True),), Return(), "not for this host")
        rules = [own, arrives, *_jumps(egress, "")]
        yield Chain("capture_prerouting", tuple(rules), Base("nat", "prerouting", NAT_PRIORITY))
    yield from _guard_output(plan, own)
    yield from _guard_input(plan, own)


def _guard_output(plan: Plan, own: Rule) -> Iterator[Chain]:
    """What leaves the host in plaintext: requests to an ingress's destinations, answers of an egress's services."""
    ingress, egress = plan.of("ingress"), plan.of("egress")
    rules = [
        _NOT_TCP,
        own,  # first of all, for its packets are the most and a fib lookup costs more than a mark
        Rule((_STAYS,), Return(), "does not leave this host, or was redirected"),
        _RESET,
    ]
    reply = Direction("reply")
    if egress:
        listeners = (AtListener("source", _listen_ports(egress)), Status("dnat"))
        yield Chain("guard_answers", (Rule(listeners, Return(), "our listeners"), *_jumps(egress, "_answers")))
        rules.append(Rule((reply,), Goto("guard_answers")))
    else:
        rules.append(Rule((reply,), Return(), "answers of a connection that came in"))
    rules += _jumps(ingress, "_guard")
    if egress:
        rules += [
            Rule((Direction("original"), States(("established", "related"))), Return(), "opened by this host"),
            Rule((TcpFlags(_HANDSHAKE, ("syn",)),), Return(), "opened by this host"),
            Rule((), Goto("guard_answers"), "mid-stream or untracked: who opened it is unknown"),
        ]
    yield Chain("guard_output", tuple(rules), Base("filter", "output", GUARD_PRIORITY))


def _guard_input(plan: Plan, own: Rule) -> Iterator[Chain]:
    """What arrives: past the redirect to an egress's services, or straight to one of our listeners."""
    ingress, egress = plan.of("ingress"), plan.of("egress")
    listeners = AtListener("destination", _listen_ports(plan.entries))
    rules = [
        _NOT_TCP,
        _RESET,
        Rule((Direction("reply"),), Return(), "answers of a connection that this host opened"),
        Rule((listeners, Status("dnat")), Return(), "came through the redirect"),
        Rule((listeners,), Reset(), "listeners are not reachable directly", "direct_to_listener"),
        own,
        *_jumps(egress, "_guard"),
    ]
    if ingress:
        yield Chain("guard_mid_stream", tuple(_jumps(ingress, "_answers")))
        rules.append(
            Rule(
                (States(("new",)), TcpFlags(_HANDSHAKE, ("syn",), negated=True)),
                Goto("guard_mid_stream"),
                "older than the rules: would count as opened by the peer",
            )
        )
    yield Chain("guard_input", tuple(rules), Base("filter", "input", GUARD_PRIORITY))


def _jumps(entries: Iterable[Interception], suffix: str) -> list[Rule]:
    return [Rule((), Jump(f"{entry.name}{suffix}"), entry.pointer) for entry in entries]


def _commented(rules: Iterable[Rule], pointer: str) -> tuple[Rule, ...]:
    return tuple(Rule(rule.matches, rule.verdict, pointer, rule.counter) for rule in rules)


def _listen_ports(entries: Iterable[Interception]) -> tuple[int, ...]:
    return tuple(sorted(entry.listen_port for entry in entries))
