"""Flows that this host can make itself and that are captured: the runtime tries them once its rules are loaded.

What a packet meets is asked of the rule tree, so a probe never names a destination that another entry takes or that
none captures. An entry with cgroups has none: whoever probes is in a cgroup of its own. What comes to an egress comes
from elsewhere, unless the entry captures local traffic too.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from tng_compiler.algebra.space import Family, Ports
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules import tree
from tng_compiler.rules.decide import decide
from tng_compiler.rules.lower import lower
from tng_compiler.rules.packet import Packet, Socket

MOST = 16
# Documentation addresses of RFC 5737 and RFC 3849, for entries that capture ports at every address.
_ANY: dict[Family, int] = {"ipv4": int(IPv4Address("192.0.2.1")), "ipv6": int(IPv6Address("2001:db8::1"))}
_SOURCE: dict[Family, int] = {"ipv4": int(IPv4Address("192.0.2.2")), "ipv6": int(IPv6Address("2001:db8::2"))}
_LOOPBACK: dict[Family, int] = {"ipv4": int(IPv4Address("127.0.0.1")), "ipv6": 1}
_USUAL_PORT = 443


def render(plan: Plan) -> tuple[str, ...]:
    """Return ``ADDRESS:PORT=LISTEN_PORT`` (IPv6 in brackets), at most one for each entry and family."""
    if all(entry.inside or entry.outside for entry in plan.entries):
        return ()
    return tuple(islice(_probes(plan, lower(plan)), MOST))


def _probes(plan: Plan, table: tree.Table) -> Iterator[str]:
    for entry in plan.entries:
        if entry.inside or entry.outside or (entry.role == "egress" and not entry.local_traffic):
            continue
        for family in entry.families:
            for address, port in _candidates(entry, family):
                if _is_captured(table, entry, family, address, port):
                    host = str(IPv4Address(address)) if family == "ipv4" else f"[{IPv6Address(address)}]"
                    yield f"{host}:{port}={entry.listen_port}"
                    break


def _candidates(entry: Interception, family: Family) -> Iterator[tuple[int, int]]:
    """A few destinations: the first of what is captured, not the address of a network itself."""
    for region in (region for region in entry.captured if region.family == family):
        anywhere = _LOOPBACK[family] if entry.role == "egress" else _ANY[family]
        # A host without a default route reaches what was named sooner than what stands for any address.
        yield from ((min(box.first + 1, box.last), _port(box.ports)) for box in region.boxes[:4])
        yield from ((anywhere, _port(ports)) for ports in region.ports[:4])


def _port(ports: Ports) -> int:
    return _USUAL_PORT if ports.first <= _USUAL_PORT <= ports.last else max(ports.first, 1)


def _is_captured(table: tree.Table, entry: Interception, family: Family, address: int, port: int) -> bool:
    local = entry.role == "egress"
    packet = Packet(
        way="within" if local else "out",
        family=family,
        source=_LOOPBACK[family] if local else _SOURCE[family],
        destination=address,
        source_port=50000,
        destination_port=port,
        sender=Socket(),
        listener=Socket(mark=entry.so_mark),
    )
    decision = decide(table, packet)
    return decision.fate == "captured" and decision.port == entry.listen_port
