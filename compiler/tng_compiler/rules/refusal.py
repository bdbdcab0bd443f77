"""What becomes of a packet about a captured destination that did not go through the capture: who is spared, and no.

These chains are reached by destination, which costs least: of what is not captured no packet comes here. A ``return``
goes on to the next entry.

A reset and a SYN+ACK carry nothing. Being an answer must be earned: a spoofed SYN, or the next segment of a peer whose
connection is older than the rules, makes the packets of our socket into answers. But a connection is ``assured`` only
after one of them has gone out (net/netfilter/nf_conntrack_proto_tcp.c), and the first that would is refused.
"""

from __future__ import annotations

from tng_compiler.algebra.space import EVERY_PORT, FAMILIES, Ports
from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules.destinations import listening
from tng_compiler.rules.tree import (
    AddressType,
    AtPorts,
    Chain,
    Direction,
    Flag,
    OpenedInZone,
    OverLoopback,
    Reset,
    Return,
    Rule,
    States,
    Status,
    TcpFlags,
    ToLoopbackAddress,
    Unreachable,
)

HANDSHAKE: tuple[Flag, ...] = ("fin", "syn", "rst", "ack")
SYN = TcpFlags(HANDSHAKE, ("syn",))
NO_PAYLOAD = (
    Rule((TcpFlags(("rst",), ("rst",)),), Return(), "ends a connection, carries nothing"),
    Rule((TcpFlags(HANDSHAKE, ("syn", "ack")),), Return(), "answers a SYN, carries nothing"),
)
# net.ipv4.ip_local_port_range, ip-sysctl.rst: a client's port, which no service has.
_CLIENT_PORTS = (Ports(32768, 60999),)
_TCP = AtPorts("destination", (EVERY_PORT,))
_UDP = AtPorts("destination", (EVERY_PORT,), "udp")


def refuse(entry: Interception) -> str:
    """The chain that refuses requests to what the entry captures."""
    return f"{entry.name}_refuse"


def withhold(entry: Interception) -> str:
    """The chain of an egress that refuses answers of the services that it captures."""
    return f"{entry.name}_withhold"


def requests(entry: Interception, plan: Plan) -> Chain:
    """Return the chain for requests: what this host sends or forwards to them, or what arrives for them."""
    spared = _of_ingress(entry, plan) if entry.role == "ingress" else _of_egress()
    rules = [*NO_PAYLOAD, *spared, Rule((_TCP,), Reset(), entry.pointer, names.rejected(entry))]
    if entry.udp == "reject":
        rules.append(Rule((_UDP,), Unreachable(), entry.pointer, names.rejected(entry)))
    return Chain(refuse(entry), tuple(rules))


def withheld(entry: Interception, plan: Plan) -> Chain:
    """Return the chain for what comes from a port that the entry captures: of a service, or of one of our clients."""
    here = [] if entry.local_traffic else [Rule((OverLoopback("leaves"),), Return(), "does not leave this host")]
    if plan.way_back:
        ours = (Direction("reply"), OpenedInZone(plan.zone))
        here.append(Rule(ours, Return(), "answers own sockets of the runtime"))
    opened = (Direction("original"), States(("established", "related")))
    rules = (
        *NO_PAYLOAD,
        *here,
        Rule(opened, Return(), "opened by this host"),
        Rule((SYN,), Return(), "opened by this host"),
        Rule((), Reset(), entry.pointer, names.rejected(entry)),
    )
    return Chain(withhold(entry), rules)


def _of_ingress(entry: Interception, plan: Plan) -> list[Rule]:
    redirected = (listening("destination", plan.of("ingress")), Status("dnat"))
    rules = [Rule((*redirected, ToLoopbackAddress(family)), Return(), "was redirected") for family in FAMILIES]
    earned = (Direction("reply"), Status("assured"), _TCP)
    rules += [
        Rule((OverLoopback("leaves"),), Return(), "does not leave this host"),
        Rule(earned, Return(), "answers who came in"),
    ]
    if entry.udp == "reject":
        several = AddressType("destination", ("broadcast", "multicast"))
        served = (Direction("reply"), AtPorts("source", _CLIENT_PORTS, "udp", negated=True))
        rules += [
            Rule(served, Return(), "answers who came in"),
            Rule((_UDP, several), Return(), "goes to several at once"),
        ]
    return rules


def _of_egress() -> list[Rule]:
    return [
        Rule((Direction("reply"),), Return(), "answers of a connection that this host opened"),
        Rule((OverLoopback("came"),), Return(), "sent by this host to itself"),
    ]
