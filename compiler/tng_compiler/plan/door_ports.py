"""Where doors listen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.model.types import Config, Door, Mapping, MappingRule, PortRange


@dataclass(frozen=True, slots=True)
class DoorPorts:
    """Ports of an address of this host; ``rule`` is the mapping's, if it is one."""

    door: Door
    pointer: str
    host: IPv4Address | IPv6Address
    ports: PortRange
    rule: MappingRule | None = None


def listening(config: Config) -> Iterator[DoorPorts]:
    """Yield the ports of all doors, in the order of the document."""
    for door in config.doors:
        if isinstance(door.mode, Mapping):
            for rule in door.mode.rules:
                yield DoorPorts(door, f"{rule.pointer}/in", rule.host, rule.ports, rule)
        else:
            port = PortRange(door.mode.port, door.mode.port)
            yield DoorPorts(door, f"{door.mode.pointer}/proxy_listen", door.mode.host, port)
