"""Entries that capture nothing: their place in the plan, and what their ports get in the way of."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import DEFAULT_SO_MARK, Config, HttpProxy, MappingRule, Network, Socks5
from tng_compiler.plan.clients import HIDDEN
from tng_compiler.plan.door_ports import DoorPorts, listening
from tng_compiler.plan.items import ports_of
from tng_compiler.plan.types import Plan, PlannedDoor
from tng_schema import contract


def planned(config: Config) -> tuple[PlannedDoor, ...]:
    """The doors. They dial with a mark that the rules know as ours, so that no other entry captures them."""
    mark = config.entries[0].netfilter.so_mark if config.entries else DEFAULT_SO_MARK
    return tuple(
        PlannedDoor(door.pointer, door.role, mark, door.mode, door.attest, door.verify, door.proxy_protocol)
        for door in config.doors
    )


def doors(config: Config, plan: Plan) -> Iterator[Diagnostic]:
    """Yield what is wrong or surprising about the ports."""
    seen: list[DoorPorts] = []
    for one in listening(config):
        yield from _taken(config, plan, one)
        yield from (_error(one, "the port of another rule", other.pointer) for other in seen if _meet(one, other))
        if one.rule is not None and _leads_to_itself(one.rule):
            yield _error(one, "a port that it leads to itself", one.rule.pointer)
        seen.append(one)
        asks = isinstance(one.door.mode, Socks5) and one.door.mode.auth is not None
        if one.door.role == "ingress" and not asks and not contract.is_loopback(str(one.host)):
            message = f"expected a port of this host alone, found {one.host}: whoever connects goes through the tunnel"
            advice = 'write "host": "127.0.0.1", or let a firewall say who may connect'
            yield Diagnostic(Code.DOOR_OPEN, Severity.WARNING, message, Place(one.pointer), (), advice)
    for door in config.doors:
        if isinstance(door.mode, HttpProxy) and door.mode.unmatched == "direct":
            message = "expected what no filter takes to be refused, found that it leaves in plaintext"
            place = Place(f"{door.mode.pointer}/unmatched")
            yield Diagnostic(Code.UNMATCHED_OPEN, Severity.WARNING, message, place, (), 'write "unmatched": "refuse"')
        if door.role == "egress" and door.proxy_protocol is None:
            message = (
                "expected services to see their clients, found that they see this host: as local users, all of them"
            )
            advice = 'trust no address, or write `"proxy_protocol": "v2"` beside the mapping'
            yield Diagnostic(Code.CLIENTS_HIDDEN, Severity.NOTE, HIDDEN, Place(door.mode.pointer), (), advice)


def _taken(config: Config, plan: Plan, one: DoorPorts) -> Iterator[Diagnostic]:
    for entry in plan.entries:
        if one.ports.first <= entry.listen_port <= one.ports.last:
            yield _error(one, f"{entry.listen_port}, where captured connections come", entry.pointer)
    for capture in config.entries:
        if capture.role != "egress" or contract.is_loopback(str(one.host)):
            continue
        for item in capture.netfilter.capture_dst or ():
            first, last = ports_of(item)
            here = item.network is None or one.host.is_unspecified or _holds(item.network, one.host)
            if here and item.ipset is None and first <= one.ports.last and one.ports.first <= last:
                yield _error(one, "ports that an egress captures", item.pointer)
                break


def _holds(network: Network, host: IPv4Address | IPv6Address) -> bool:
    return host.version == network.version and network.first <= int(host) <= network.last


def _meet(one: DoorPorts, two: DoorPorts) -> bool:
    same = one.host == two.host or (
        one.host.version == two.host.version and (one.host.is_unspecified or two.host.is_unspecified)
    )
    return same and one.ports.first <= two.ports.last and two.ports.first <= one.ports.last


def _leads_to_itself(rule: MappingRule) -> bool:
    same = rule.out_host == str(rule.host) or (rule.host.is_unspecified and contract.is_loopback(rule.out_host))
    return same and rule.ports.first <= rule.out_first <= rule.ports.last


def _error(one: DoorPorts, found: str, other: str) -> Diagnostic:
    message = f"expected ports that nothing else has, found {found}"
    notes = (Note(Place(other), "the other one"),)
    return Diagnostic(Code.DOOR_TAKEN, Severity.ERROR, message, Place(one.pointer), notes, "choose others")
