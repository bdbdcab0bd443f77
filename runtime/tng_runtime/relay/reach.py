"""Where a connection is to go: to the destination that it had, or where a mapping leads."""

from __future__ import annotations

import socket
from ipaddress import ip_address

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.names import Target, by_host
from tng_runtime.kernel.sockets import Destination, local_address, original_destination
from tng_runtime.manifest import Entry, MappingRule


def meant_by(entry: Entry, connection: socket.socket) -> Destination:
    """Where the client of an accepted connection was going; raises ``Refused`` (NET-DIRECT) or ``ClientLeftError``."""
    return local_address(connection) if entry.is_door else original_destination(connection)


def leads(entry: Entry, meant: Destination) -> Target:
    """Where ``entry`` sends who was going to ``meant``; raises ``Refused`` (NET-DIRECT)."""
    if not entry.mapping:
        return meant
    for rule in entry.mapping:
        if rule.in_port <= meant.port <= rule.in_port_end and _listens(rule, meant):
            return by_host(rule.out_host, rule.out_port + meant.port - rule.in_port)
    raise Refused(LinkCode.NET_DIRECT, f"no rule of the mapping is about {meant}")


def _listens(rule: MappingRule, at: Destination) -> bool:
    host = ip_address(rule.in_host)
    return rule.in_host == at.host or (host.is_unspecified and (host.version == 6) == (at.family == "ipv6"))
