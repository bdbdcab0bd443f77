"""What is refused: packets that would pass the capture, and whoever would stand in for us.

- Output: requests to an ingress's destinations, answers of an egress's services, and for ``capture_local_traffic`` what
  this host sends to itself. Who sends is known by the socket here.
- Input: what comes for an egress's services past the redirect, for one of our listeners without the redirect, and for a
  listen port whose socket is not ours.
- Forward: requests of containers and guests to an ingress's destinations.
- Postrouting: loopback addresses on another interface, where the redirect sends a socket that is bound to it.

A reset and a SYN+ACK carry nothing. Being an answer must be earned: a spoofed SYN, or the next segment of a peer whose
connection is older than the rules, makes the packets of our socket into answers. But a connection is ``assured`` only
after one of them has gone out (net/netfilter/nf_conntrack_proto_tcp.c), and the first that would is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.plan import names
from tng_compiler.plan.types import EVERY_PORT, FAMILIES, Interception, Plan, Ports
from tng_compiler.rules.entries import HANDSHAKE, SYN, guard, without_sender
from tng_compiler.rules.tree import (
    AddressType,
    AtListener,
    AtPorts,
    Base,
    Chain,
    Direction,
    Drop,
    Goto,
    Hook,
    Jump,
    Labelled,
    OpenedInZone,
    OverLoopback,
    Protocol,
    Reset,
    Return,
    Rule,
    SetLabel,
    Side,
    SocketMark,
    States,
    Status,
    TcpFlags,
    ToLoopbackAddress,
)

GUARD_PRIORITY = -5
# Other tables' DNAT is at -100 (NF_IP_PRI_NAT_DST): before it the destination is still what the sender wrote.
BEFORE_DNAT = -103
# net.ipv4.ip_local_port_range, ip-sysctl.rst: a client's port, which no service has.
CLIENT_PORTS = (Ports(32768, 60999),)
_RESET = Rule((TcpFlags(("rst",), ("rst",)),), Return(), "ends a connection, carries nothing")
_SYN_ACK = Rule((TcpFlags(HANDSHAKE, ("syn", "ack")),), Return(), "answers a SYN, carries nothing")
_OPENED = (
    Rule((Direction("original"), States(("established", "related"))), Return(), "opened by this host"),
    Rule((SYN,), Return(), "opened by this host"),
)
_EARNED = (
    Rule((Direction("reply"), Status("assured"), AtPorts("source", (EVERY_PORT,))), Return(), "answers who came in"),
    Rule((Direction("reply"), AtPorts("source", CLIENT_PORTS, "udp", negated=True)), Return(), "answers who came in"),
)


def guard_chains(plan: Plan) -> Iterator[Chain]:
    """Yield the chains of the guard."""
    yield from _output(plan)
    yield from _input(plan)
    yield from _forward(plan)
    if plan.of("ingress") or _local(plan):
        leaves = OverLoopback("leaves", negated=True)
        strays = [
            Rule((leaves, ToLoopbackAddress(family)), Drop(), "loopback is not on the wire", names.STRAYED)
            for family in FAMILIES
        ]
        yield Chain("strays_postrouting", tuple(strays), Base("filter", "postrouting", GUARD_PRIORITY))


def _output(plan: Plan) -> Iterator[Chain]:
    ingress, egress, local = plan.of("ingress"), plan.of("egress"), _local(plan)
    own = Rule((SocketMark("sender", plan.marks),), Return(), "own sockets of the runtime")
    rules = [own, _RESET, _SYN_ACK]
    redirected = (*ingress, *local)
    if redirected:
        arrives = (listening("destination", redirected), Status("dnat"))
        rules += [Rule((*arrives, ToLoopbackAddress(family)), Return(), "was redirected") for family in FAMILIES]
    if local:
        yield Chain("guard_local_answers", tuple(jumps(local, "_answers")))
        yield Chain("guard_local", tuple(_to_itself(plan, local)))
        rules.append(Rule((OverLoopback("leaves"),), Goto("guard_local"), "sent by this host to itself"))
    else:
        rules.append(Rule((OverLoopback("leaves"),), Return(), "does not leave this host"))
    rules.append(to_several())
    if egress:
        yield Chain("guard_answers", tuple(jumps(egress, "_answers")))
        rules.append(
            Rule((Direction("reply"),), (Jump if ingress else Goto)("guard_answers"), "must not be a service's")
        )
    if ingress:
        rules += [*_EARNED, *jumps(ingress, "_guard")]
    if egress:
        rules += [*_OPENED, Rule((), Goto("guard_answers"), "mid-stream or untracked: who opened it is unknown")]
    yield _base("guard_output", "output", rules, _protocols(redirected))


def _to_itself(plan: Plan, local: Iterable[Interception]) -> list[Rule]:
    """What this host sends to itself: requests past the redirect, and answers but those to our own sockets."""
    ours = (Direction("reply"), OpenedInZone(plan.zone))
    return [
        Rule(ours, Return(), "answers own sockets of the runtime"),
        Rule((Direction("reply"),), Goto("guard_local_answers"), "must not be a service's"),
        *jumps(local, "_guard"),
        *_OPENED,
        Rule((), Goto("guard_local_answers"), "mid-stream or untracked: who opened it is unknown"),
    ]


def _input(plan: Plan) -> Iterator[Chain]:
    egress = plan.of("egress")
    listeners = listening("destination", plan.entries)
    stranger = SocketMark("receiver", plan.marks, negated=True)
    rules = [
        _RESET,
        Rule((Direction("reply"),), Return(), "answers of a connection that this host opened"),
        Rule((listeners, stranger), Reset(), "a socket of somebody else has the port", names.SQUATTED),
        Rule((listeners, Status("dnat")), Return(), "came through the redirect"),
        Rule((listeners,), Reset(), "listeners are not reachable directly", names.DIRECT),
        Rule((OverLoopback("came"),), Return(), "sent by this host to itself"),
        Rule((SocketMark("receiver", plan.marks),), Return(), "for own sockets of the runtime"),
        *jumps(egress, "_guard"),
    ]
    if any(entry.inside or entry.outside for entry in egress):
        rules.append(Rule((SYN,), SetLabel(plan.judged_label), "was judged by the socket that listens"))
    yield _base("guard_input", "input", rules, _protocols(egress))


def _forward(plan: Plan) -> Iterator[Chain]:
    """A forwarded packet has no socket here: an entry that captures by cgroup has nothing to say of it.

    What came for an address of this host and is forwarded all the same, because another table translates it, is a port
    that this host publishes for a container: it does not leave for a captured destination.
    """
    entries = [entry for entry in plan.of("ingress") if entry.forwarded == "reject" and not entry.inside]
    if not entries:
        return
    ours = Rule(
        (States(("new",)), AddressType("destination", ("local",))),
        SetLabel(plan.published_label),
        "came for this host, not through it",
    )
    yield Chain("published_prerouting", (ours,), Base("filter", "prerouting", BEFORE_DNAT))
    rules = [
        _RESET,
        _SYN_ACK,
        *_EARNED,
        Rule((Labelled(plan.published_label),), Return(), "came for a port that this host publishes"),
        *(Rule((), Jump(without_sender(entry, guard(entry))), entry.pointer) for entry in entries),
    ]
    yield _base("guard_forward", "forward", rules, _protocols(entries))


def jumps(entries: Iterable[Interception], suffix: str) -> list[Rule]:
    """To the chain of each entry, in their order."""
    return [Rule((), Jump(f"{entry.name}{suffix}"), entry.pointer) for entry in entries]


def listening(side: Side, entries: Iterable[Interception]) -> AtListener:
    """The listen ports of ``entries``."""
    return AtListener(side, tuple(sorted(entry.listen_port for entry in entries)))


def to_several() -> Rule:
    """Broadcast and multicast are not TCP's, and for UDP not a destination that anybody could capture."""
    return Rule((AddressType("destination", ("broadcast", "multicast")),), Return(), "goes to several at once")


def _local(plan: Plan) -> list[Interception]:
    return [entry for entry in plan.of("egress") if entry.local_traffic]


def _protocols(entries: Iterable[Interception]) -> tuple[Protocol, ...]:
    return ("tcp", "udp") if any(entry.udp == "reject" for entry in entries) else ("tcp",)


def _base(name: str, hook: Hook, rules: list[Rule], protocols: tuple[Protocol, ...]) -> Chain:
    return Chain(name, tuple(rules), Base("filter", hook, GUARD_PRIORITY, protocols))
