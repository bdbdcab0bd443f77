"""What ``rules.decide`` says of the flows that are sent as packets, to be compared with what the kernel does."""

from __future__ import annotations

from ipaddress import ip_address

from packets.flows import FLOWS, Flow, Older
from packets.wire import place
from tng_compiler.algebra.space import Family
from tng_compiler.plan.types import Plan
from tng_compiler.rules.decide import decide
from tng_compiler.rules.lower import lower
from tng_compiler.rules.packet import Connection, Packet, Socket, Way
from tng_compiler.rules.tree import Flag

HOST = {"ipv4": "10.77.0.1", "ipv6": "fd77::1"}
PEER = {"ipv4": "10.77.0.2", "ipv6": "fd77::2"}
CLIENT_PORT = 40000
WAYS: dict[str, Way] = {"out": "out", "in": "in", "local": "within"}


def new(plan: Plan, flow: Flow, in_sets: frozenset[str]) -> str:
    """The outcome of a new connection in the words of ``wire.outcome``."""
    packet = _packet(plan, flow, Connection(), frozenset({"syn"}), in_sets=in_sets)
    decision = decide(lower(plan), packet)
    if decision.fate == "captured":
        return f"captured {decision.port} {place(flow.family, flow.address, flow.port)}"
    return f"passed {flow.port}" if decision.fate == "passed" else decision.fate


def older(plan: Plan, case: Older, *, tracked: bool, in_sets: frozenset[str]) -> str:
    """``reset`` or ``passed``: what becomes of the first words after the load, and of the answer to them."""
    table, established = lower(plan), "established" if tracked else "new"
    asked = Connection(state=established, assured=tracked)  # type: ignore[arg-type]  # one of two words
    zone = plan.zone if case.mark in plan.marks and not tracked else 0
    answered = Connection(state="established", way="reply", assured=tracked, zone=zone)
    ack: frozenset[Flag] = frozenset({"ack"})
    if case.first == "client":
        packets = [_packet(plan, case, asked, ack, in_sets=in_sets)]
        packets += [_packet(plan, case, answered, ack, in_sets=in_sets, answer=True)]
    else:
        spoken = Connection(state="established", way="reply", assured=True) if tracked else Connection()
        back = Connection(state="established", assured=True) if tracked else Connection("established", "reply")
        packets = [_packet(plan, case, spoken, ack, in_sets=in_sets, answer=True)]
        packets += [_packet(plan, case, back, ack, in_sets=in_sets)]
    return "passed" if all(decide(table, packet).fate == "passed" for packet in packets) else "reset"


def _packet(
    plan: Plan,
    case: Flow | Older,
    connection: Connection,
    flags: frozenset[Flag],
    *,
    in_sets: frozenset[str],
    answer: bool = False,
) -> Packet:
    family: Family = "ipv6" if ":" in case.address else "ipv4"
    way = WAYS[case.way]
    if answer:
        way = {"out": "in", "in": "out", "within": "within"}[way]  # type: ignore[assignment]  # a Way for each
    near = int(ip_address((PEER if case.way == "in" else HOST)[family]))
    far = int(ip_address(case.address))
    ends = ((near, CLIENT_PORT), (far, case.port))
    (source, source_port), (destination, destination_port) = ends[::-1] if answer else ends
    client = Socket(case.mark, case.cgroup if case.way == "out" else "") if case.way != "in" else None
    service = Socket(0, _cgroup_of_service(case)) if case.way != "out" else None
    listening = next((Socket(e.so_mark) for e in plan.entries if e.listen_port == case.port), None)
    service = listening or service
    return Packet(
        way=way,
        family=family,
        source=source,
        destination=destination,
        source_port=source_port,
        destination_port=destination_port,
        flags=flags,
        connection=connection,
        sender=service if answer else client,
        receiver=client if answer else service,
        listener=Socket(plan.entries[0].so_mark),
        in_sets=in_sets,
    )


def _cgroup_of_service(case: Flow | Older) -> str:
    """What listens on a port of the host is in the cgroup that its flows name."""
    flows = (flow for flow in FLOWS if (flow.config, flow.way, flow.port) == (case.config, "in", case.port))
    return next((flow.cgroup for flow in flows if flow.cgroup), "")
