"""Where the doors of a plan listen and where they lead, for questions about traffic: no rule tells of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.algebra.space import BITS, Box, Family, Ports
from tng_compiler.model.types import HttpProxy, Mapping, MappingRule
from tng_compiler.plan.types import Plan, PlannedDoor


@dataclass(frozen=True, slots=True)
class Doorway:
    """Ports of addresses of this host (``box``, of ``family``) at which ``door`` listens; ``rule``: of a mapping."""

    door: PlannedDoor
    pointer: str
    host: IPv4Address | IPv6Address
    family: Family
    box: Box
    rule: MappingRule | None = None

    @property
    def kind(self) -> str:
        """What the document calls it: ``mapping``, ``socks5``, ``http_proxy``."""
        return self.door.mode.pointer.rpartition("/")[2]

    @property
    def open(self) -> bool:
        """Whether what no filter of it takes leaves without a tunnel."""
        return isinstance(self.door.mode, HttpProxy) and self.door.mode.unmatched == "direct"

    def holds(self, family: Family, address: int, port: int) -> bool:
        """Whether a connection to there comes to it."""
        box = self.box
        return family == self.family and box.first <= address <= box.last and box.ports.first <= port <= box.ports.last

    def leads(self, port: int) -> str:
        """Where a connection goes that came to ``port``."""
        if self.rule is None:
            filtered = isinstance(self.door.mode, HttpProxy)
            return "where its filters let the program go" if filtered else "wherever the program asks for"
        return f"{self.rule.out_host} port {self.rule.out_first + port - self.rule.ports.first}"

    @property
    def whole(self) -> str:
        """Where all of its ports lead."""
        ports = self.box.ports
        last = (
            ""
            if self.rule is None or ports.first == ports.last
            else f"-{self.rule.out_first + ports.last - ports.first}"
        )
        return self.leads(ports.first) + last


def doorways(plan: Plan) -> Iterator[Doorway]:
    """Yield them in the order of the document."""
    for door in plan.doors:
        if isinstance(door.mode, Mapping):
            for rule in door.mode.rules:
                ports = Ports(rule.ports.first, rule.ports.last)
                yield _doorway(door, rule.pointer, rule.host, ports, rule)
        else:
            yield _doorway(door, door.mode.pointer, door.mode.host, Ports(door.mode.port, door.mode.port))


def _doorway(
    door: PlannedDoor, pointer: str, host: IPv4Address | IPv6Address, ports: Ports, rule: MappingRule | None = None
) -> Doorway:
    family: Family = "ipv4" if host.version == 4 else "ipv6"
    # The unspecified address is every one of its family: listeners of IPv6 take no IPv4 (IPV6_V6ONLY).
    ends = (0, (1 << BITS[family]) - 1) if host.is_unspecified else (int(host), int(host))
    return Doorway(door, pointer, host, family, Box(*ends, ports), rule)
