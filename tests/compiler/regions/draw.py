"""Random plans in a corner of each family, and what the rule tree does with a flow of the algebra."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import strategies as st

from packets.make import VERIFY, config, entry
from tng_compiler.model.types import Entry
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.interfaces import OTHER, Incoming
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import Fate
from tng_compiler.regions.flow import Flow
from tng_compiler.rules.decide import decide
from tng_compiler.rules.lower import lower
from tng_compiler.rules.packet import Packet, Socket
from tng_compiler.rules.tree import Table

BASE = {4: int(ip_address("10.0.0.0")), 6: int(ip_address("fd00::"))}
BITS = {4: 32, 6: 128}
CORNER = 3
PORTS = st.sampled_from([1, 7, 52, 53, 54, 80, 40001, 65535])
INTERFACES = ["docker0", "br-*", "br-a*", "br-ab"]
CGROUPS = ["app", "app/web", "app/web/x", "sys"]


@st.composite
def items(draw: st.DrawFn) -> dict[str, Any]:
    """An item of ``capture_dst``."""
    item: dict[str, Any] = {}
    version = draw(st.sampled_from([0, 4, 4, 6]))
    if version:
        length = draw(st.sampled_from([0, 1, *range(BITS[version] - CORNER, BITS[version] + 1)]))
        base = (
            BASE[version] + draw(st.integers(0, (1 << CORNER) - 1)) >> BITS[version] - length << BITS[version] - length
        )
        item["host"] = str(ip_network((base, length) if version == 4 else (base.to_bytes(16, "big"), length)))
    elif draw(st.booleans()):
        item["ipset"] = draw(st.sampled_from(["office", "branch"]))
    if not item or draw(st.booleans()):
        ports = sorted(draw(st.tuples(PORTS, PORTS)))
        item |= {"port": ports[0], "port_end": ports[1]}
    return item


@st.composite
def entries(draw: st.DrawFn, role: Any, index: int) -> Entry:
    """An entry with any conditions that compile."""
    local = role == "egress" and draw(st.booleans())
    cgroups = st.lists(st.sampled_from(CGROUPS), max_size=2, unique=True)
    return entry(
        role,
        index,
        draw(st.lists(items(), max_size=4)),
        cgroup=() if local else draw(cgroups),
        nocgroup=() if local else draw(cgroups),
        local=local,
        listen_port=draw(st.sampled_from([80, 40010, 40020])) + index + (5 if role == "egress" else 0),
        ipv6=draw(st.sampled_from(["capture", "capture", "reject", "bypass"])),
        forwarded=draw(st.sampled_from(["reject", "bypass", "capture"])) if role == "ingress" else "reject",
        interfaces=draw(st.lists(st.sampled_from(INTERFACES), max_size=2, unique=True)),
        udp=draw(st.sampled_from(["reject", "reject", "bypass"])),
        verify=draw(st.sampled_from([VERIFY, VERIFY, None])),
    )


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """A plan with up to three entries a role."""
    found: list[Entry] = []
    for role in ("ingress", "egress"):
        found += [draw(entries(role, index)) for index in range(draw(st.integers(0, 3)))]
    return build_plan(config(*found), "0" * 64)[0]


@lru_cache(maxsize=4)
def _table(plan: Plan) -> Table:
    return lower(plan)


def incoming(words: str | None) -> Incoming:
    """The interface that a flow names."""
    name, _, side = (words or OTHER).partition(" ")
    return Incoming(name, side == "inside")


def decided(plan: Plan, flow: Flow) -> Fate:
    """What the rule tree of ``plan`` does with ``flow``; ``why`` and a refusing ``entry`` are not said by it."""
    socket = Socket(0, flow.cgroup or "")
    own = plan.entries[0].so_mark if plan.entries else 1
    listening = any(entry.listen_port == flow.port for entry in plan.entries) and flow.protocol == "tcp"
    packet = Packet(
        way=flow.way,
        family=flow.family,
        source=BASE[4 if flow.family == "ipv4" else 6] + (1 << 20),
        destination=flow.address,
        source_port=45000,
        destination_port=flow.port,
        protocol=flow.protocol,
        flags=frozenset({"syn"}) if flow.protocol == "tcp" else frozenset(),
        sender=socket if flow.way in ("out", "within") else None,
        receiver=Socket(own) if listening else socket if flow.way in ("in", "within") else None,
        listener=Socket(own),
        in_sets=frozenset(name for name, holds in flow.sets if holds),
        incoming=incoming(flow.interface),
    )
    decision = decide(_table(plan), packet)
    if decision.fate == "captured":
        return Fate("captured", next(entry.pointer for entry in plan.entries if entry.listen_port == decision.port))
    return Fate("passed" if decision.fate == "passed" else "refused")
