"""Destinations in words, as people read and write them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from tng_compiler.algebra.space import BITS, EVERY_PORT, Family, Ports

ADDRESS: dict[Family, type[IPv4Address | IPv6Address]] = {"ipv4": IPv4Address, "ipv6": IPv6Address}
"""Makes an address of its number."""


def span_text(family: Family, first: int, last: int) -> str:
    """Return an inclusive interval of addresses: the one there is, a network if it is one, or both its ends."""
    address = ADDRESS[family]
    size = last - first + 1
    if size == 1:
        return str(address(first))
    if size & (size - 1) == 0 and first % size == 0:
        return f"{address(first)}/{BITS[family] - size.bit_length() + 1}"
    return f"{address(first)}-{address(last)}"


def ports_text(these: Ports) -> str:
    """Return ports as they stand in a sentence."""
    if these == EVERY_PORT:
        return "every port"
    return f"port {these.first}" if these.first == these.last else f"ports {these.first}-{these.last}"
