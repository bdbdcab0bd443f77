"""One flow of a region, for people: in the words that ``tng explain`` reads."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.algebra.intervals import Interval
from tng_compiler.algebra.plane import documented, example
from tng_compiler.algebra.space import Family
from tng_compiler.regions.fates import ORDINARY, Protocol, State, Way
from tng_compiler.regions.solve import Region

_KNOWN_PORTS = (443, 80, 8080, 22)
_BEGINS: dict[Way, str] = {"out": "ingress", "in": "egress", "within": "egress", "through": "forwarded"}


@dataclass(frozen=True, slots=True)
class Flow:
    """``cgroup`` None: it does not matter; "" is none that is named. ``sets``: whether the destination is in them.

    ``interface``: what a forwarded packet came by, as ``plan.interfaces.spelled`` writes it; None: it does not matter.
    """

    way: Way
    protocol: Protocol
    family: Family
    address: int
    port: int
    cgroup: str | None = None
    sets: tuple[tuple[str, bool], ...] = ()
    interface: str | None = None
    state: State = ORDINARY

    def __str__(self) -> str:
        parts = [_BEGINS[self.way], self.protocol]
        if self.state.established:
            parts.append("established tracked")
        if self.way == "within":
            parts.append("from local")
        parts.append(f"to {endpoint(self.family, self.address)}:{self.port}")
        if self.cgroup is not None:
            parts.append(f"cgroup /{self.cgroup}")
        if self.interface is not None:
            parts.append(f"over {self.interface}")
        if self.sets:
            held = ",".join(name for name, holds in self.sets if holds)
            parts.append(f"set {held}" if held else "no set")
        if self.state.down:
            parts.append("runtime down")
        return " ".join(parts)


def witness(region: Region) -> Flow:
    """Return a flow of ``region`` that people recognize: an address for documentation, a port that they know."""
    first, last, ports = next((row for row in region.rows if documented(row[0], row[1])), region.rows[0])
    address = example(first, last)
    cgroup = region.cgroups[-1] if region.cgroups is not None else None
    interface = region.interfaces[-1] if region.interfaces is not None else None
    return Flow(
        region.way, region.protocol, region.family, address, _port(ports), cgroup, region.sets, interface, region.state
    )


def _port(ports: tuple[Interval, ...]) -> int:
    for port in _KNOWN_PORTS:
        if any(low <= port <= high for low, high in ports):
            return port
    low, high = ports[0]
    if (low, high) == (0, 0) and len(ports) > 1:
        low, high = ports[1]
    return min(max(low, 1), high)


def endpoint(family: Family, address: int) -> str:
    """An address as it stands before a port."""
    return str(IPv4Address(address)) if family == "ipv4" else f"[{IPv6Address(address)}]"
