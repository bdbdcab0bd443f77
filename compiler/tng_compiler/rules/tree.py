"""The rule tree: sets, counters, chains, rules, matches and verdicts of one table, with nothing of nft's syntax in it.

``lower`` makes it of a plan, ``emit`` prints it, ``decide`` reads it for one packet. The unions ``Match`` and
``Verdict`` are closed: every reader ends in ``assert_never``, so the type checker names each emitter that does not yet
know a new kind of rule.

The meaning is that of netfilter (nft(8), "STATEMENTS" and "EXPRESSIONS"): the matches of a rule must all hold, a match
whose operand is missing (no socket, no connection) does not hold whatever it compares, and the first verdict counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tng_compiler.algebra.space import Box, Family, Ports

Protocol = Literal["tcp", "udp"]
Side = Literal["source", "destination"]
Hook = Literal["prerouting", "input", "forward", "output", "postrouting"]
AddressKind = Literal["local", "broadcast", "multicast"]
Flag = Literal["fin", "syn", "rst", "ack"]


@dataclass(frozen=True, slots=True)
class OfFamily:
    """The packet is of this address family."""

    family: Family


@dataclass(frozen=True, slots=True)
class AtPorts:
    """The packet is of the protocol, and its port in one of the intervals, or with ``negated`` in none.

    ``EVERY_PORT`` alone asks for the protocol only.
    """

    side: Side
    ports: tuple[Ports, ...]
    protocol: Protocol = "tcp"
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AtListener:
    """A port of the packet is that of one of our listeners."""

    side: Side
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class InBoxes:
    """Address and port of one side together are in an ``AddressSet``."""

    side: Side
    set: str
    family: Family
    protocol: Protocol = "tcp"


@dataclass(frozen=True, slots=True)
class InOperatorSet:
    """The address of one side is in a set that is filled at run time."""

    side: Side
    set: str
    family: Family


@dataclass(frozen=True, slots=True)
class InCgroup:
    """The ancestor at ``level`` of the socket's cgroup is in a ``CgroupSet``, or with ``negated`` is not.

    A packet without a socket, or whose socket is in a shallower cgroup, matches neither way.
    """

    level: int
    set: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class SocketMark:
    """The socket that sends the packet, or that will receive it, carries one of the marks (``negated``: none of them).

    The socket's own mark, which no other table can rewrite (SO_MARK, socket(7)). It is the listener's for a packet that
    opens a connection. Without a full socket (none, or one in TIME_WAIT or NEW_SYN_RECV) neither form matches.
    """

    of: Literal["sender", "receiver"]
    marks: tuple[int, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ReceivedBySocket:
    """A full socket of this host will receive the packet: not none, nor one in TIME_WAIT or NEW_SYN_RECV."""


@dataclass(frozen=True, slots=True)
class OverLoopback:
    """The packet came, or will leave, over ``lo``; with ``negated`` over another interface.

    On the way out that is what routing said before any nat: a redirected packet still counts by its first route, but in
    postrouting, where it is the interface that it leaves by.
    """

    way: Literal["came", "leaves"]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class CameBy:
    """The packet came by an interface with one of these names; one that ends in ``*`` is every name that begins so."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CameFromInside:
    """The packet came by a bridge or veth interface, and its destination is not reached by the same interface."""


@dataclass(frozen=True, slots=True)
class LeavesInside:
    """The packet leaves by a bridge, a veth or a tap interface, as containers and guests are connected.

    iptables has no kinds of interfaces: there it always holds.
    """


@dataclass(frozen=True, slots=True)
class ToLoopbackAddress:
    """The destination is 127.0.0.0/8 or ::1."""

    family: Family


@dataclass(frozen=True, slots=True)
class AddressType:
    """What the host's routing makes of an address (fib), or with ``negated`` does not."""

    side: Side
    kinds: tuple[AddressKind, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class TcpFlags:
    """Of the flags in ``mask`` exactly those in ``set`` are set. TCP alone has flags."""

    mask: tuple[Flag, ...]
    set: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Direction:
    """The packet goes the way of its connection's first packet, or the other way."""

    way: Literal["original", "reply"]


@dataclass(frozen=True, slots=True)
class States:
    """What connection tracking makes of the packet: one of the states."""

    named: tuple[Literal["new", "established", "related"], ...]


@dataclass(frozen=True, slots=True)
class Status:
    """The packet's connection has this status bit (linux/netfilter/nf_conntrack_common.h)."""

    bit: Literal["dnat", "assured"]


@dataclass(frozen=True, slots=True)
class OpenedInZone:
    """The packet's connection was opened in this conntrack zone: by a socket of our own."""

    zone: int


@dataclass(frozen=True, slots=True)
class Labelled:
    """The packet's connection carries this label (a bit, 0 to 127)."""

    label: int


Match = (
    OfFamily
    | AtPorts
    | AtListener
    | InBoxes
    | InOperatorSet
    | InCgroup
    | SocketMark
    | ReceivedBySocket
    | OverLoopback
    | CameBy
    | CameFromInside
    | LeavesInside
    | ToLoopbackAddress
    | AddressType
    | TcpFlags
    | Direction
    | States
    | Status
    | OpenedInZone
    | Labelled
)


@dataclass(frozen=True, slots=True)
class Accept:
    """The packet leaves this base chain; later ones see it."""


@dataclass(frozen=True, slots=True)
class Return:
    """Back to the rule after the jump; in a base chain the same as ``Accept``."""


@dataclass(frozen=True, slots=True)
class Reset:
    """The packet is dropped and its sender gets a TCP reset."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The packet is dropped and its sender gets an ICMP error: port unreachable."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The packet is dropped, and nobody is told."""


@dataclass(frozen=True, slots=True)
class SetZone:
    """The connection that this packet opens is told apart by ``zone`` in its original direction; on with the chain.

    Its answers are found in the common tuple space, where the sockets keep them apart.
    """

    zone: int


@dataclass(frozen=True, slots=True)
class SetLabel:
    """The packet's connection gets this label; on with the chain."""

    label: int


@dataclass(frozen=True, slots=True)
class SetMark:
    """The packet gets this mark, by which it is routed; on with the chain."""

    mark: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """The connection goes to ``port`` on this host; ``forgotten``: as soon as it is reset, so is where it was led.

    iptables has no timeouts of single connections: there it is remembered.
    """

    port: int
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Jump:
    """On with ``chain``, and back."""

    chain: str


@dataclass(frozen=True, slots=True)
class Goto:
    """On with ``chain``, and not back to this one."""

    chain: str


Verdict = Accept | Return | Reset | Unreachable | Drop | SetZone | SetLabel | SetMark | Redirect | Jump | Goto


@dataclass(frozen=True, slots=True)
class Rule:
    """If all of ``matches`` hold, ``counter`` counts and ``verdict`` is given. ``comment``: why, or whose."""

    matches: tuple[Match, ...]
    verdict: Verdict
    comment: str = ""
    counter: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """Where the kernel calls a base chain; its policy is to accept. After one of kind ``route`` it routes anew.

    ``protocols`` are those that some rule below it is about (none named: all): a backend may call it for these alone.
    """

    kind: Literal["filter", "nat", "route"]
    hook: Hook
    priority: int
    protocols: tuple[Protocol, ...] = ()


@dataclass(frozen=True, slots=True)
class Chain:
    """``base`` None: reached by jumps alone. One that only ``counts`` decides nothing, and is not asked."""

    name: str
    rules: tuple[Rule, ...]
    base: Base | None = None
    counts: bool = False


@dataclass(frozen=True, slots=True)
class Counter:
    """A named counter."""

    name: str
    comment: str


@dataclass(frozen=True, slots=True)
class AddressSet:
    """Disjoint boxes of one family."""

    name: str
    family: Family
    boxes: tuple[Box, ...]
    comment: str


@dataclass(frozen=True, slots=True)
class OperatorAddresses:
    """Addresses of one family that are known at run time only."""

    name: str
    family: Family
    comment: str


@dataclass(frozen=True, slots=True)
class CgroupSet:
    """Cgroups of one depth, by path; nft stores their ids. ``paths`` empty: filled by the runtime."""

    name: str
    level: int
    paths: tuple[str, ...]
    comment: str


SetDefinition = AddressSet | OperatorAddresses | CgroupSet


@dataclass(frozen=True, slots=True)
class Table:
    """One table, in the order in which its parts are defined; ``notes`` stand at the head of the text."""

    name: str
    notes: tuple[str, ...]
    counters: tuple[Counter, ...]
    sets: tuple[SetDefinition, ...]
    chains: tuple[Chain, ...]

    def chain(self, name: str) -> Chain:
        """The chain of that name; ``KeyError`` if there is none."""
        for chain in self.chains:
            if chain.name == name:
                return chain
        raise KeyError(name)
