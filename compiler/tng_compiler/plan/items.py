"""The items of ``capture_dst`` as destinations: network, ports, and the place in the document they come from."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from tng_compiler.algebra.intervals import Interval
from tng_compiler.algebra.plane import Rectangle
from tng_compiler.algebra.space import BITS, EVERY_PORT, Family
from tng_compiler.model.types import CaptureDst, Entry, Netfilter

DNS_PORT = 53
PER_ITEM = 8
"""Steps of a budget that it takes to look at an item at all."""
ALL_PORTS: Interval = (EVERY_PORT.first, EVERY_PORT.last)


class Item(NamedTuple):
    """Destinations in one family that one place of the document names; ``entry`` is the position among its role.

    A tuple for speed, as ``Box`` is.
    """

    pointer: str
    entry: int
    first: int
    length: int
    ports: Interval

    def last(self, family: Family) -> int:
        """The last address."""
        return self.first + (1 << (BITS[family] - self.length)) - 1

    def rectangle(self, family: Family, name: int) -> Rectangle:
        """Return it as the algebra wants it."""
        return Rectangle(name, self.first, self.last(family), *self.ports)


def items_of(netfilter: Netfilter, family: Family, entry: int = 0) -> Iterator[Item]:
    """Yield the items of one family. No ``capture_dst``, absent or empty, is every destination; sets are left out."""
    if not netfilter.capture_dst:
        name = "capture_cgroup" if netfilter.capture_dst is None else "capture_dst"
        yield Item(f"{netfilter.pointer}/{name}", entry, 0, 0, ALL_PORTS)
    version = 4 if family == "ipv4" else 6
    for item in netfilter.capture_dst or ():
        ports = item.ports or ALL_PORTS
        if (network := item.network) is not None:
            if network.version == version:
                yield Item(item.pointer, entry, network.first, network.prefixlen, ports)
        elif item.ipset is None:
            yield Item(item.pointer, entry, 0, 0, ports)


def spans_of(netfilter: Netfilter, family: Family) -> Iterator[tuple[int, int, Interval]]:
    """Yield first address, prefix length and ports of what ``items_of`` yields, in half of the time."""
    if not netfilter.capture_dst:
        yield 0, 0, ALL_PORTS
    version = 4 if family == "ipv4" else 6
    for _, network, ipset, ports in netfilter.capture_dst or ():
        if network is not None:
            if network.version == version:
                yield network.first, network.prefixlen, ports or ALL_PORTS
        elif ipset is None:
            yield 0, 0, ports or ALL_PORTS


def ports_of(item: CaptureDst) -> Interval:
    """The ports of an item, every one if it names none."""
    return item.ports or ALL_PORTS


def has_sets(entry: Entry) -> bool:
    """Whether what it captures depends on a set that the operator fills."""
    return any(item.ipset is not None for item in entry.netfilter.capture_dst or ())


def describe(family: Family, address: int, port: int) -> str:
    """A packet, as a witness shows it."""
    text = str(IPv4Address(address)) if family == "ipv4" else f"[{IPv6Address(address)}]"
    return f"TCP to {text}:{port}"


def with_dns(netfilter: Netfilter) -> list[CaptureDst]:
    """The items with port 53 among their ports, named or not."""
    items = netfilter.capture_dst or ()
    return [item for item in items if item.ports is None or item.ports.first <= DNS_PORT <= item.ports.last]


def spares_dns(netfilter: Netfilter) -> bool:
    """Whether UDP port 53 is left alone: captured because every port is, and not because somebody named it."""
    items = with_dns(netfilter)
    captured = not netfilter.capture_dst or bool(items)
    return netfilter.udp == "reject" and captured and all(item.ports is None for item in items)
