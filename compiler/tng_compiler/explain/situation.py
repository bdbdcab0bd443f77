"""A flow with nothing left open, the packets that it consists of, and what the rules do with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tng_compiler.algebra.space import Family
from tng_compiler.algebra.text import ADDRESS
from tng_compiler.explain.flow import Runtime, Speaker
from tng_compiler.explain.space import Place
from tng_compiler.plan.interfaces import UNNAMED, Incoming, kinds_matter
from tng_compiler.plan.interfaces import spelled as interface
from tng_compiler.plan.types import Plan
from tng_compiler.rules.decide import Decision, decide
from tng_compiler.rules.packet import Connection, Packet, Socket, Way
from tng_compiler.rules.tree import Flag, Protocol, Table

CLIENT_PORT = 40000
"""A client's port where none was given: of net.ipv4.ip_local_port_range (ip-sysctl.rst), as Linux gives them away."""
NOWHERE = Place(0, ((0, 0),), ())
MULTICAST: dict[Family, tuple[int, int]] = {"ipv4": (0xE0000000, 0xEFFFFFFF), "ipv6": (0xFF << 120, (1 << 128) - 1)}

_BACK: dict[Way, Way] = {"out": "in", "in": "out", "within": "within", "through": "through"}
_ACK: frozenset[Flag] = frozenset({"ack"})
_SYN: frozenset[Flag] = frozenset({"syn"})
_NO_FLAGS: frozenset[Flag] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """``first``: which end of an ``established`` connection speaks first under the rules."""

    way: Way = "out"
    protocol: Protocol = "tcp"
    family: Family = "ipv4"
    destination: Place = NOWHERE
    port: int = 0
    source: Place = NOWHERE
    source_port: int = CLIENT_PORT
    cgroup: str = ""
    newer: bool = False
    mark: int = 0
    sets: frozenset[str] = frozenset()
    incoming: Incoming = UNNAMED
    established: bool = False
    tracked: bool = False
    first: Speaker = "client"
    runtime: Runtime = "up"


def outcome(plan: Plan, table: Table, situation: Situation) -> Decision:
    """Return the decision of the first packet that does not pass, else of the last.

    ``table`` must hold the boxes of the situation's addresses. A listener that a packet of an older connection is
    redirected to does not know it, and answers with a reset (RFC 9293, 3.10.7.2).
    """
    decision = None
    for packet in packets(plan, situation):
        decision = decide(table, packet)
        if decision.fate != "passed":
            break
    assert decision
    if situation.established and decision.fate == "captured":
        return Decision("reset", decision.port, decision.path)
    return decision


def packets(plan: Plan, situation: Situation) -> Iterator[Packet]:
    """Yield the packets that decide: the first of a new connection; the first words of either end of an older one."""
    if not situation.established:
        yield _packet(plan, situation, Connection(), answer=False)
        return
    tracked = situation.tracked
    picked_up = Connection("established", assured=True) if tracked else Connection()
    if situation.first == "client":
        ours = situation.mark in plan.marks and situation.way in ("out", "within") and not tracked
        zone = plan.zone if ours else 0
        yield _packet(plan, situation, picked_up, answer=False)
        yield _packet(plan, situation, Connection("established", "reply", tracked, zone=zone), answer=True)
        return
    # What conntrack picks up in mid-stream goes in the original direction, whoever opened the connection.
    spoken = Connection("established", "reply", assured=True) if tracked else Connection()
    yield _packet(plan, situation, spoken, answer=True)
    back = Connection("established", assured=True) if tracked else Connection("established", "reply")
    yield _packet(plan, situation, back, answer=False)


def _packet(plan: Plan, situation: Situation, connection: Connection, *, answer: bool) -> Packet:
    way = situation.way
    sends, arrives = way in ("out", "within"), way in ("in", "within")
    application = Socket(situation.mark, situation.cgroup, not situation.newer)
    client = application if sends else None
    service = _service(plan, situation) if arrives else None
    ends = ((situation.source.address, situation.source_port), (situation.destination.address, situation.port))
    (source, source_port), (destination, destination_port) = ends[::-1] if answer else ends
    first, last = MULTICAST[situation.family]
    udp = situation.protocol == "udp"
    return Packet(
        way=_BACK[way] if answer else way,
        family=situation.family,
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
        protocol=situation.protocol,
        flags=_NO_FLAGS if udp else _ACK if situation.established else _SYN,
        goes_to="several" if first <= destination <= last else "one",
        connection=connection,
        sender=service if answer else client,
        receiver=client if answer else service,
        listener=_listener(situation.runtime, plan.entries[0].so_mark) if plan.entries else None,
        in_sets=situation.sets,
        incoming=situation.incoming,
    )


def _service(plan: Plan, situation: Situation) -> Socket | None:
    """Who receives what arrives: a service, or whoever has the listen port that it is for."""
    if situation.protocol == "tcp":
        for entry in plan.entries:
            if entry.listen_port == situation.port:
                return _listener(situation.runtime, entry.so_mark)
    return Socket(0, situation.cgroup if situation.way == "in" else "", not situation.newer)


def _listener(runtime: Runtime, mark: int) -> Socket | None:
    return None if runtime == "down" else Socket(mark if runtime == "up" else 0)


def spelled(plan: Plan, situation: Situation) -> str:
    """Return the situation in the language of flows."""
    address = ADDRESS[situation.family]
    way = situation.way
    direction = {"out": "ingress", "in": "egress", "within": "egress", "through": "forwarded"}[way]
    words = [direction, situation.protocol]
    if situation.established:
        words += ["established", "tracked" if situation.tracked else "untracked", f"{situation.first} first"]
    port = "" if situation.source_port == CLIENT_PORT else f":{situation.source_port}"
    if way == "within" and situation.source is NOWHERE:
        words.append(f"from local{port}")
    elif situation.source is not NOWHERE:
        words += ["from local"] if way == "within" else ["from"]
        words.append(_end(str(address(situation.source.address)), situation.source_port))
    elif port:
        words.append(f"from {port}")
    words.append(f"to {_end(str(address(situation.destination.address)), situation.port)}")
    if way != "through" and any(entry.inside or entry.outside for entry in plan.entries):
        words.append(f"cgroup {_quoted(situation.cgroup)}{' newer' * situation.newer}")
    takes = [entry.takes for entry in plan.entries]
    if way == "through" and any(each is not None for each in takes):
        words.append(f"over {interface(situation.incoming, kinds=kinds_matter(takes))}")
    if situation.mark:
        words.append(f"mark {situation.mark}")
    if plan.operator_sets:
        words.append(f"set {','.join(sorted(situation.sets))}" if situation.sets else "no set")
    if situation.runtime != "up":
        words.append(f"runtime {situation.runtime}")
    return " ".join(words)


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _quoted(path: str) -> str:
    return f'"/{path}"' if " " in path else f"/{path}"
