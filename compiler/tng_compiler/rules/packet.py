"""A packet and what the kernel knows of it: the other operand of every match, for ``decide``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tng_compiler.algebra.space import Family
from tng_compiler.plan.interfaces import UNNAMED, Incoming
from tng_compiler.rules.tree import Flag, Protocol

Way = Literal["out", "in", "within", "through"]
"""From this host to another, to this host, from this host to itself, or forwarded."""


@dataclass(frozen=True, slots=True)
class Socket:
    """A full socket of this host: its own mark, and its cgroup's path below the root ("" is the root).

    ``known`` False: the cgroup was made after the rules were loaded, and the runtime has not looked it up yet.
    """

    mark: int = 0
    cgroup: str = ""
    known: bool = True


@dataclass(frozen=True, slots=True)
class Connection:
    """What connection tracking makes of the packet, before any rule of ours."""

    state: Literal["new", "established", "related", "untracked"] = "new"
    way: Literal["original", "reply"] = "original"
    assured: bool = False
    translated: bool = False
    zone: int = 0
    labels: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """Addresses are integers of ``family``; ``flags`` of FIN, SYN, RST and ACK are those that are set.

    ``sender`` and ``receiver`` are the sockets on this host at either end, None where there is no full one.
    ``listener`` is the socket that has the listen port of a capture: ours, a stranger's, or none. ``in_sets`` names the
    sets known at run time only that hold the destination, or the source of an answer. ``incoming``: what a forwarded
    packet came by; ``leaves_inside``: whether that is connected like a guest by which it leaves.
    """

    way: Way
    family: Family
    source: int
    destination: int
    source_port: int
    destination_port: int
    protocol: Protocol = "tcp"
    flags: frozenset[Flag] = frozenset({"syn"})
    goes_to: Literal["one", "several"] = "one"
    connection: Connection = Connection()
    sender: Socket | None = None
    receiver: Socket | None = None
    listener: Socket | None = None
    in_sets: frozenset[str] = frozenset()
    incoming: Incoming = UNNAMED
    leaves_inside: bool = False
