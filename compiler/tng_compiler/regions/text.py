"""Regions and fates in words, shared by all that print them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from ipaddress import ip_network

from tng_compiler.algebra.intervals import Interval
from tng_compiler.algebra.space import BITS, EVERY_PORT, Family
from tng_compiler.algebra.text import span_text
from tng_compiler.plan.interfaces import OTHER
from tng_compiler.regions.fates import Fate, Protocol, Way
from tng_compiler.regions.solve import LOOPBACK, NEVER, Region, Row

MOST_ROWS = 3
"""Ranges of a region that are spelt out; the rest is counted."""

_WAYS: dict[Way, str] = {"out": "outgoing", "in": "arriving", "within": "local", "through": "forwarded"}
_HUGE = 10**12


def kind(way: Way, protocol: Protocol) -> str:
    """Name a kind of traffic."""
    return f"{_WAYS[way]} {protocol.upper()}"


def outcome(fate: Fate) -> str:
    """Say what becomes of it."""
    if fate.kind == "passed":
        return "passes in plaintext"
    if fate.kind == "captured":
        return f"captured by {fate.entry}"
    if fate.kind == "taken":
        return f"taken by the door {fate.entry}"
    because = {
        "listener": "our listen port, dialled directly",
        "ipv6": f"{fate.entry} rejects IPv6",
        "udp": f"{fate.entry} rejects UDP",
        "forwarded": f"{fate.entry} rejects what is forwarded",
        "older": f"{fate.entry} captures it, and it is older than the rules",
        "down": f"{fate.entry} is meant to have it, and the runtime is down",
    }
    return f"refused: {because[fate.why]}"


def destinations(region: Region) -> str:
    """Name the family, the destinations, and how many there are."""
    rows = joined(region)
    shown = "; ".join(f"{_addresses(region.family, row)}, {_ports(row[2])}" for row in rows[:MOST_ROWS])
    more = f"; and {len(rows) - MOST_ROWS:,} more ranges" if len(rows) > MOST_ROWS else ""
    family = "IPv4" if region.family == "ipv4" else "IPv6"
    return f"{family} {shown}{more} ({count(region.size)} destinations)"


def conditions(region: Region) -> str:
    """Say on which cgroups and sets it depends; empty if on none."""
    parts = []
    if region.cgroups is not None:
        owner = "to a service in" if region.way == "in" else "from"
        named = [f"/{path}" for path in region.cgroups if path]
        some = f"cgroup {', '.join(named[:4])}" + (f" and {len(named) - 4} more" if len(named) > 4 else "")
        parts.append(f"{owner} {' or '.join([some] * bool(named) + ['no named cgroup'] * ('' in region.cgroups))}")
    if region.interfaces is not None:
        parts.append(f"from {_interfaces(region.interfaces)}")
    parts += [f"if the destination is {'' if holds else 'not '}in set {name}" for name, holds in region.sets]
    return ", ".join(parts)


def _interfaces(words: tuple[str, ...]) -> str:
    some = words[:4] + ((f"{len(words) - 4} more",) if len(words) > 4 else ())
    return " or ".join(f"interface {word}" if word != OTHER else "no named interface" for word in some)


def count(number: int) -> str:
    """A number that people can read: IPv6 has many destinations."""
    if number < _HUGE:
        return f"{number:,}"
    power = math.log2(number)
    exact = number == 1 << number.bit_length() - 1
    return ("" if exact else "about ") + f"2^{power:.1f}".removesuffix(".0")


def joined(region: Region) -> list[Row]:
    """Return the rows, across destinations that no connection has: ``0.0.0.0/0`` is not four ranges for a reader."""
    gaps = list(_gaps(region.way, region.family))
    found: list[Row] = []
    for first, last, ports in region.rows:
        if (0, first - 1) in gaps:
            first = 0
        if found and found[-1][2] == ports and (found[-1][1] + 1, first - 1) in gaps:
            first = found.pop()[0]
        if (last + 1, (1 << BITS[region.family]) - 1) in gaps:
            last = (1 << BITS[region.family]) - 1
        found.append((first, last, ports))
    return found


def _gaps(way: Way, family: Family) -> Iterator[Interval]:
    for network in (*NEVER[family], *((LOOPBACK[family],) if way != "within" else ())):
        parsed = ip_network(network)
        yield int(parsed.network_address), int(parsed.broadcast_address)
    if family == "ipv6" and way != "within":
        yield 0, 1


def _addresses(family: Family, row: Row) -> str:
    first, last, _ = row
    size = last - first + 1
    if size == 1 << BITS[family]:
        return "every address"
    return span_text(family, first, last)


def _ports(ports: tuple[Interval, ...]) -> str:
    if ports == ((EVERY_PORT.first, EVERY_PORT.last),):
        return "every port"
    shown = ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ports[:4])
    more = f" and {len(ports) - 4} more" if len(ports) > 4 else ""
    return f"port{'s' if len(ports) > 1 or ports[0][0] != ports[0][1] else ''} {shown}{more}"
