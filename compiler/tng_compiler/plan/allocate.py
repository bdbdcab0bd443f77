"""Listen ports, from the document alone: the same text gives the same ports on any machine.

15001 and up for an ingress, 16001 and up for an egress, below the ephemeral range of Linux (32768 to 60999,
ip_local_port_range), so that no outgoing connection of the host takes one before the runtime binds it.
"""

from __future__ import annotations

from itertools import chain

from tng_compiler.model.types import Config, Entry, Role
from tng_compiler.plan.intervals import Interval, union

FIRST_LISTEN_PORT: dict[Role, int] = {"ingress": 15001, "egress": 16001}
EPHEMERAL = (32768, 60999)
UNPRIVILEGED = 1024


def listen_ports(config: Config) -> tuple[int, ...]:
    """Return the port of each entry, in the order of the document.

    Ports that the document gives to an entry, or names as captured, are passed over while others are left.
    """
    used = {entry.netfilter.listen_port for entry in config.entries} - {None}
    named = named_ports(config)
    ports: list[int] = []
    for entry in config.entries:
        port = entry.netfilter.listen_port or _free(entry, used, named)
        used.add(port)
        ports.append(port)
    return tuple(ports)


def named_ports(config: Config) -> list[Interval]:
    """Return the ports that some item of the document names; an item without ports names none."""
    return union(
        (item.ports.first, item.ports.last)
        for entry in config.entries
        for item in entry.netfilter.capture_dst or ()
        if item.ports
    )


def _free(entry: Entry, used: set[int | None], named: list[Interval]) -> int:
    start = FIRST_LISTEN_PORT[entry.role]
    candidates = chain(range(start, EPHEMERAL[0]), range(start - 1, UNPRIVILEGED, -1), range(EPHEMERAL[0], 65536))
    free = [port for port in candidates if port not in used] if named else None
    if free is None:
        return next(port for port in range(start, 65536) if port not in used)
    return next((port for port in free if not any(first <= port <= last for first, last in named)), free[0])
