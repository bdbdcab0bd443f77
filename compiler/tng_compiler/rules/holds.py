"""Whether a match of the rule tree holds for a packet at one point of its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import assert_never

from tng_compiler.algebra.space import Ports
from tng_compiler.rules import tree
from tng_compiler.rules.packet import Packet, Socket

_LOOPBACK = {
    "ipv4": (int(ip_network("127.0.0.0/8")[0]), int(ip_network("127.0.0.0/8")[-1])),
    "ipv6": (1, 1),
}


# Where a packet has an interface that it came by, or one that it leaves by.
_CAME: tuple[tree.Hook, ...] = ("prerouting", "input", "forward")
_LEAVES: tuple[tree.Hook, ...] = ("forward", "output", "postrouting")


@dataclass(frozen=True, slots=True)
class Point:
    """``packet`` as one hook sees it: its interface, and the sockets at its ends there."""

    packet: Packet
    hook: tree.Hook
    over_loopback: bool
    for_this_host: bool


def holds(match: tree.Match, at: Point, sets: Mapping[str, tree.SetDefinition]) -> bool:
    """Whether ``match`` holds; a missing operand is a match that does not, negated or not."""
    match match:
        case tree.OfFamily(family):
            return at.packet.family == family
        case tree.AtPorts() | tree.AtListener() | tree.InBoxes() | tree.InOperatorSet():
            return _addressed(match, at.packet, sets)
        case tree.InCgroup() | tree.SocketMark() | tree.ReceivedBySocket():
            return _owned(match, at.packet, sets)
        case tree.OverLoopback(way, negated):
            return at.hook in (_CAME if way == "came" else _LEAVES) and at.over_loopback != negated
        case tree.CameBy(names):
            return at.hook in _CAME and at.packet.way == "through" and at.packet.incoming.among(names)
        case tree.CameFromInside():
            return at.hook in _CAME and at.packet.way == "through" and at.packet.incoming.inside
        case tree.LeavesInside():
            return at.hook in _LEAVES and at.packet.way == "through" and at.packet.leaves_inside
        case tree.ToLoopbackAddress(family):
            first, last = _LOOPBACK[family]
            return at.packet.family == family and first <= at.packet.destination <= last
        case tree.AddressType(_, kinds, negated):
            kind = "local" if at.for_this_host else "multicast" if at.packet.goes_to == "several" else "unicast"
            return (kind in kinds) != negated
        case tree.TcpFlags(mask, wanted):
            return at.packet.protocol == "tcp" and at.packet.flags & frozenset(mask) == frozenset(wanted)
        case tree.Direction() | tree.States() | tree.Status() | tree.OpenedInZone() | tree.Labelled():
            return _tracked(match, at.packet)
        case _:
            assert_never(match)


def _addressed(
    match: tree.AtPorts | tree.AtListener | tree.InBoxes | tree.InOperatorSet,
    packet: Packet,
    sets: Mapping[str, tree.SetDefinition],
) -> bool:
    address, port = (
        (packet.source, packet.source_port) if match.side == "source" else (packet.destination, packet.destination_port)
    )
    match match:
        case tree.AtPorts(_, ports, protocol, negated):
            return packet.protocol == protocol and any(_inside(port, interval) for interval in ports) != negated
        case tree.AtListener(_, listen_ports):
            return packet.protocol == "tcp" and port in listen_ports
        case tree.InBoxes(_, name, family, protocol):
            group = sets[name]
            assert isinstance(group, tree.AddressSet)
            return (packet.family, packet.protocol) == (family, protocol) and any(
                box.first <= address <= box.last and _inside(port, box.ports) for box in group.boxes
            )
        case tree.InOperatorSet(_, name, family):
            return packet.family == family and name in packet.in_sets
        case _:
            assert_never(match)


def _owned(
    match: tree.InCgroup | tree.SocketMark | tree.ReceivedBySocket,
    packet: Packet,
    sets: Mapping[str, tree.SetDefinition],
) -> bool:
    match match:
        case tree.ReceivedBySocket():
            return packet.receiver is not None
        case tree.SocketMark(of, marks, negated):
            socket = packet.sender if of == "sender" else packet.receiver
            return socket is not None and (socket.mark in marks) != negated
        case tree.InCgroup(level, name, negated):
            # The kernel asks the sender's socket on the way out, and looks the receiver's up on the way in.
            socket = packet.sender if packet.way in ("out", "within") else packet.receiver
            group = sets[name]
            assert isinstance(group, tree.CgroupSet)
            ancestor = _ancestor(socket, level)
            return ancestor is not None and _in_cgroups(socket, ancestor, group) != negated
        case _:
            assert_never(match)


def _in_cgroups(socket: Socket | None, ancestor: str, group: tree.CgroupSet) -> bool:
    # Its ancestors are as old as the sets say; the cgroup itself has another id than the one of that path had.
    anew = socket is not None and not socket.known and ancestor == socket.cgroup
    return not anew and (ancestor in group.paths or not group.paths)


def _ancestor(socket: Socket | None, level: int) -> str | None:
    names = socket.cgroup.split("/") if socket and socket.cgroup else []
    return "/".join(names[:level]) if len(names) >= level else None


def _tracked(
    match: tree.Direction | tree.States | tree.Status | tree.OpenedInZone | tree.Labelled, packet: Packet
) -> bool:
    connection = packet.connection
    if connection.state == "untracked":
        return False
    match match:
        case tree.Direction(way):
            return connection.way == way
        case tree.States(named):
            return connection.state in named
        case tree.Status(bit):
            return connection.translated if bit == "dnat" else connection.assured
        case tree.OpenedInZone(zone):
            return connection.zone == zone
        case tree.Labelled(label):
            return label in connection.labels
        case _:
            assert_never(match)


def _inside(port: int, ports: Ports) -> bool:
    return ports.first <= port <= ports.last
