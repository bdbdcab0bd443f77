"""The items of ``capture_dst`` as points of a forest: network, ports, and the place in the document they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.model.types import CaptureDst, Entry, Netfilter
from tng_compiler.plan.intervals import Interval
from tng_compiler.plan.types import BITS, EVERY_PORT, Family

ALL_PORTS: Interval = (EVERY_PORT.first, EVERY_PORT.last)


@dataclass(frozen=True, slots=True)
class Item:
    """Destinations in one family that one place of the document names; ``entry`` is the position among its role."""

    pointer: str
    entry: int
    first: int
    length: int
    ports: Interval

    def last(self, family: Family) -> int:
        """The last address."""
        return self.first + (1 << (BITS[family] - self.length)) - 1


def items_of(netfilter: Netfilter, family: Family, entry: int = 0) -> Iterator[Item]:
    """Yield the items of one family. No ``capture_dst``, absent or empty, is every destination; sets are left out."""
    if not netfilter.capture_dst:
        name = "capture_cgroup" if netfilter.capture_dst is None else "capture_dst"
        yield Item(f"{netfilter.pointer}/{name}", entry, 0, 0, ALL_PORTS)
    for item in netfilter.capture_dst or ():
        if (network := where(item, family)) is not None:
            yield Item(item.pointer, entry, *network, ports_of(item))


def ports_of(item: CaptureDst) -> Interval:
    """The ports of an item, every one if it names none."""
    return (item.ports.first, item.ports.last) if item.ports else ALL_PORTS


def has_sets(entry: Entry) -> bool:
    """Whether what it captures depends on a set that the operator fills."""
    return any(item.ipset is not None for item in entry.netfilter.capture_dst or ())


def describe(family: Family, address: int, port: int) -> str:
    """A packet, as a witness shows it."""
    text = str(IPv4Address(address)) if family == "ipv4" else f"[{IPv6Address(address)}]"
    return f"TCP to {text}:{port}"


def where(item: CaptureDst, family: Family) -> tuple[int, int] | None:
    if item.ipset is not None:
        return None
    if item.network is None:
        return 0, 0
    if BITS[family] != item.network.max_prefixlen:
        return None
    return int(item.network.network_address), item.network.prefixlen
