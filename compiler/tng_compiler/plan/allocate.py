"""Listen ports, and numbers in conntrack, from the document alone: the same text gives the same ones on any machine.

15001 and up for an ingress, 16001 and up for an egress, below the ephemeral range of Linux (32768 to 60999,
ip_local_port_range), so that no outgoing connection of the host takes one before the runtime binds it.

An ingress that also captures what is forwarded listens at other addresses than one that does not, and so at another
port, from 15501 on: while one run takes over from another, both listen.

An instance with a name has ports and labels of its own, from a slot that its name gives (CRC-32), so that documents
which know nothing of each other seldom meet; where they do, `tng doctor` says so. The mark and the zone are the same
for all: what carries the mark is exempt from every instance, and must be tracked in one place by all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.algebra.intervals import Interval, intersect, subtract, union
from tng_compiler.model.types import Config, Role
from tng_compiler.plan.door_ports import listening
from tng_schema.contract import slot

INSTANCE = "tng"
FIRST_LISTEN_PORT: dict[Role, int] = {"ingress": 15001, "egress": 16001}
_FIRST_OF_NAMED, _PORTS = 17001, 270
_TAKERS, _TAKERS_OF_NAMED = 500, 68
"""How far behind the others of their role those begin that capture what is forwarded."""
EPHEMERAL = (32768, 60999)
UNPRIVILEGED = 1024
ZONE = 0x7467
"""Far from the small numbers that switches and network plugins count up from (ovs-vswitchd(8), OVN, Cilium)."""
PUBLISHED_LABEL, JUDGED_LABEL = 116, 117
"""Switches keep labels in zones of their own; host firewalls seldom have any (connlabel, iptables-extensions(8))."""


def labels(instance: str) -> tuple[int, int]:
    """Return the bits of conntrack's labels for published and for judged connections."""
    found = slot(instance)
    return (PUBLISHED_LABEL, JUDGED_LABEL) if found is None else (2 * found, 2 * found + 1)


def first_listen_ports(instance: str) -> dict[Role, int]:
    """Return where the ports of each role begin: those of a slot, half of them for each role."""
    if (found := slot(instance)) is None:
        return FIRST_LISTEN_PORT
    first = _FIRST_OF_NAMED + _PORTS * found
    return {"ingress": first, "egress": first + _PORTS // 2}


def listen_ports(config: Config, instance: str = INSTANCE) -> tuple[int, ...]:
    """Return the port of each entry, in the order of the document (of which an earlier stage bounds the length).

    Ports that the document gives to an entry are passed over, and those that it names as captured come last.
    """
    used = {entry.netfilter.listen_port for entry in config.entries}
    used |= {port for one in listening(config) for port in range(one.ports.first, one.ports.last + 1)}
    used |= {config.control.port} if config.control else set()
    named = _named_ports(config)
    starts = first_listen_ports(instance)
    further = _TAKERS if slot(instance) is None else _TAKERS_OF_NAMED
    offers = {
        (role, taker): _offer(first + taker * further, named)
        for role, first in starts.items()
        for taker in (False, True)
    }
    ports: list[int] = []
    for entry in config.entries:
        offer = offers[entry.role, entry.netfilter.forwarded == "capture"]
        port = entry.netfilter.listen_port or next(port for port in offer if port not in used)
        used.add(port)
        ports.append(port)
    return tuple(ports)


def _named_ports(config: Config) -> list[Interval]:
    """Ports that some item of the document names; an item without ports names none."""
    items = (item for entry in config.entries for item in entry.netfilter.capture_dst or ())
    return union({item.ports for item in items if item.ports})


def _offer(start: int, named: list[Interval]) -> Iterator[int]:
    """Ports to give away, the best first."""
    candidates = [(start, EPHEMERAL[0] - 1), (UNPRIVILEGED, start - 1), (EPHEMERAL[0], 0xFFFF)]
    for interval in candidates:
        for first, last in subtract([interval], named):
            yield from range(first, last + 1)
    for interval in candidates:
        for first, last in intersect([interval], named):
            yield from range(first, last + 1)
