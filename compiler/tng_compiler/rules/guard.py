"""The base chains of the guard: what is refused although no rule redirects it, and who would stand in for us.

- Output: requests to an ingress's destinations, answers of an egress's services, and for ``capture_local_traffic`` what
  this host sends to itself. Who sends is known by the socket here.
- Input: what comes for an egress's services past the redirect, for one of our listeners without the redirect, and for a
  listen port whose socket is not ours.
- Forward: requests of containers and guests to an ingress's destinations, whether they are captured or refused.
- Postrouting: loopback addresses on another interface, where the redirect sends a socket that is bound to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.algebra.space import FAMILIES
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules.destinations import listening, strays
from tng_compiler.rules.entries import guard, without_sender
from tng_compiler.rules.refusal import NO_PAYLOAD, SYN
from tng_compiler.rules.tree import (
    AddressType,
    Base,
    Chain,
    Direction,
    Goto,
    Hook,
    Jump,
    Labelled,
    LeavesInside,
    OpenedInZone,
    OverLoopback,
    Protocol,
    Reset,
    Return,
    Rule,
    SetLabel,
    SocketMark,
    States,
    Status,
    ToLoopbackAddress,
)
from tng_schema import contract

GUARD_PRIORITY = -5
# Our own redirect is at -105, other tables' DNAT at -100 (NF_IP_PRI_NAT_DST): before both the destination is still what
# the sender wrote.
BEFORE_NAT = -107


def guard_chains(plan: Plan) -> Iterator[Chain]:
    """Yield the chains of the guard."""
    yield from _output(plan)
    yield from _input(plan)
    yield from _forward(plan)
    if plan.of("ingress") or local_entries(plan):
        yield Chain("strays_postrouting", strays("leaves"), Base("filter", "postrouting", GUARD_PRIORITY))


def _output(plan: Plan) -> Iterator[Chain]:
    ingress, egress, local = plan.of("ingress"), plan.of("egress"), local_entries(plan)
    rules = [Rule((SocketMark("sender", plan.marks),), Return(), "own sockets of the runtime")]
    if local:
        yield from _to_itself(plan, local)
        rules.append(Rule((OverLoopback("leaves"),), Goto("guard_local"), "sent by this host to itself"))
    rules += [*jumps(egress, "_answers"), *jumps(ingress, "_guard")]
    yield _base("guard_output", "output", rules, (*ingress, *local))


def _to_itself(plan: Plan, local: list[Interception]) -> Iterator[Chain]:
    """What this host sends to itself: requests past the redirect, and answers but those to our own sockets."""
    redirected = (listening("destination", local), Status("dnat"))
    ours = (Direction("reply"), OpenedInZone(plan.zone))
    yield Chain("guard_local_answers", tuple(jumps(local, "_answers")))
    rules = (
        *NO_PAYLOAD,
        *(Rule((*redirected, ToLoopbackAddress(family)), Return(), "was redirected") for family in FAMILIES),
        Rule(ours, Return(), "answers own sockets of the runtime"),
        Rule((Direction("reply"),), Goto("guard_local_answers"), "must not be a service's"),
        *jumps(local, "_guard"),
        Rule((), Goto("guard_local_answers"), "who opened it may be unknown"),
    )
    yield Chain("guard_local", rules)


def _input(plan: Plan) -> Iterator[Chain]:
    egress = plan.of("egress")
    stranger = SocketMark("receiver", plan.marks, negated=True)
    takers = [entry for entry in plan.entries if entry.takes_forwarded]
    # What somebody else's rules translate to the port of an ingress came for an address of this host.
    relayed = (listening("destination", takers), Labelled(plan.published_label))
    lent = [Rule(relayed, Reset(), "was not forwarded, but translated by others", contract.DIRECT)] if takers else []
    yield Chain(
        "guard_listeners",
        (
            *NO_PAYLOAD[:1],
            Rule((Direction("reply"),), Return(), "answers of a connection that this host opened"),
            Rule((stranger,), Reset(), "a socket of somebody else has the port", contract.SQUATTED),
            *lent,
            Rule((Status("dnat"),), Return(), "came through the redirect"),
            Rule((), Reset(), "listeners are not reachable directly", contract.DIRECT),
        ),
    )
    rules = [
        Rule((listening("destination", plan.entries),), Goto("guard_listeners"), "for one of our listeners"),
        *jumps(egress, "_guard"),
    ]
    if any(entry.inside or entry.outside for entry in egress):
        rules.append(Rule((SYN,), SetLabel(plan.judged_label), "was judged by the socket that listens"))
    yield _base("guard_input", "input", rules, egress)


def _forward(plan: Plan) -> Iterator[Chain]:
    """A forwarded packet has no socket here: an entry that captures by cgroup has nothing to say of it.

    What came for an address of this host and is forwarded all the same, because another table translates it, is for a
    port that this host publishes. If it leaves by an interface as containers have, it is theirs, at whatever port they
    listen. If not, the translation leads to somebody else's host, and that may be a captured destination.
    """
    entries = [entry for entry in plan.entries if entry.minds_forwarded]
    if not entries:
        return
    for_us = (OverLoopback("came", negated=True), States(("new",)), AddressType("destination", ("local",)))
    ours = Rule(for_us, SetLabel(plan.published_label), "came for this host, not through it")
    yield Chain("published_prerouting", (ours,), Base("filter", "prerouting", BEFORE_NAT))
    published = Labelled(plan.published_label)
    rules = [
        Rule((published, Direction("reply")), Return(), "answers who came for a port that this host publishes"),
        Rule((published, LeavesInside()), Return(), "came for a port that this host publishes"),
        *(Rule((), Jump(without_sender(entry, guard(entry))), entry.pointer) for entry in entries),
    ]
    yield _base("guard_forward", "forward", rules, entries)


def jumps(entries: Iterable[Interception], suffix: str) -> list[Rule]:
    """To the chain of each entry, in their order."""
    return [Rule((), Jump(f"{entry.name}{suffix}"), entry.pointer) for entry in entries]


def local_entries(plan: Plan) -> list[Interception]:
    """The entries that capture what this host sends to itself."""
    return [entry for entry in plan.of("egress") if entry.local_traffic]


def _base(name: str, hook: Hook, rules: list[Rule], about: Iterable[Interception]) -> Chain:
    udp: tuple[Protocol, ...] = ("udp",) if any(entry.udp == "reject" for entry in about) else ()
    return Chain(name, tuple(rules), Base("filter", hook, GUARD_PRIORITY, ("tcp", *udp)))
