"""Entries that capture nothing: their place in the plan, and what their ports get in the way of."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.algebra.budget import Budget, BudgetSpentError
from tng_compiler.algebra.intervals import Interval
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import DEFAULT_SO_MARK, Config, HttpProxy, MappingRule, Network, Socks5
from tng_compiler.plan.clients import HIDDEN
from tng_compiler.plan.door_ports import DoorPorts, listening
from tng_compiler.plan.items import ports_of
from tng_compiler.plan.types import Plan, PlannedDoor
from tng_schema import contract

_Seen = dict[tuple[int, int], dict[IPv4Address | IPv6Address, DoorPorts]]
"""Doors by IP version and port, and by address."""


def planned(config: Config) -> tuple[PlannedDoor, ...]:
    """The doors. They dial with a mark that the rules know as ours, so that no other entry captures them."""
    mark = config.entries[0].netfilter.so_mark if config.entries else DEFAULT_SO_MARK
    return tuple(
        PlannedDoor(door.pointer, door.role, mark, door.mode, door.attest, door.verify, door.proxy_protocol)
        for door in config.doors
    )


def doors(config: Config, plan: Plan, budget: Budget) -> Iterator[Diagnostic]:
    """Yield what is wrong with the ports, then what is surprising."""
    seen: _Seen = {}
    taken = _Taken(config, plan, budget)
    for one in listening(config):
        yield from taken.by(one)
        if other := _meeting(seen, one):
            yield _error(one, "the port of another rule", other.pointer)
        for port in range(one.ports.first, one.ports.last + 1):
            seen.setdefault((one.host.version, port), {}).setdefault(one.host, one)
        if one.rule is not None and _leads_to_itself(one.rule):
            yield _error(one, "a port that it leads to itself", one.rule.pointer)
    yield from _open(config)
    if taken.unfinished:
        message = "expected ports that can be compared with captures in reasonable time, found too many"
        advice = "a port that an egress captures as well is not found then"
        place = Place(config.doors[0].pointer)
        yield Diagnostic(Code.ANALYSIS_UNFINISHED, Severity.WARNING, message, place, (), advice)


def _open(config: Config) -> Iterator[Diagnostic]:
    for one in listening(config):
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
            advice = 'trust no address, or write `"proxy_protocol": "v2"` beside the mapping'
            yield Diagnostic(Code.CLIENTS_HIDDEN, Severity.NOTE, HIDDEN, Place(door.mode.pointer), (), advice)


class _Taken:
    """Ports that captures have: where they listen, and what an egress captures."""

    def __init__(self, config: Config, plan: Plan, budget: Budget) -> None:
        self._listening = {entry.listen_port: entry.pointer for entry in plan.entries}
        self._captures = [capture.netfilter for capture in config.entries if capture.role == "egress"]
        self._by_host: dict[IPv4Address | IPv6Address, list[list[tuple[Interval, str]]]] = {}
        self._budget = budget
        self.unfinished = False

    def by(self, one: DoorPorts) -> Iterator[Diagnostic]:
        """Yield where others have ports of this door."""
        for port in range(one.ports.first, one.ports.last + 1):
            if port in self._listening:
                yield _error(one, f"{port}, where captured connections come", self._listening[port])
        if self.unfinished or contract.is_loopback(str(one.host)):
            return
        try:
            captured = self._by_host.get(one.host) or self._by_host.setdefault(one.host, self._captured(one.host))
            self._budget.spend(sum(map(len, captured)))
        except BudgetSpentError:
            self.unfinished = True
            return
        for items in captured:
            meet = (pointer for (first, last), pointer in items if first <= one.ports.last and one.ports.first <= last)
            if pointer := next(meet, None):
                yield _error(one, "ports that an egress captures", pointer)

    def _captured(self, host: IPv4Address | IPv6Address) -> list[list[tuple[Interval, str]]]:
        """Return, for each capture, the ports of ``host`` that it takes, and the item that says so."""
        found: list[list[tuple[Interval, str]]] = []
        for netfilter in self._captures:
            self._budget.spend(len(netfilter.capture_dst or ()))
            ports: dict[Interval, str] = {}
            for item in netfilter.capture_dst or ():
                if item.ipset is None and (item.network is None or host.is_unspecified or _holds(item.network, host)):
                    ports.setdefault(ports_of(item), item.pointer)
            found.append(list(ports.items()))
        return found


def _holds(network: Network, host: IPv4Address | IPv6Address) -> bool:
    return host.version == network.version and network.first <= int(host) <= network.last


def _meeting(seen: _Seen, one: DoorPorts) -> DoorPorts | None:
    """Return a door before that has a port of ``one``'s, at its address or at all addresses."""
    for port in range(one.ports.first, one.ports.last + 1):
        others = seen.get((one.host.version, port), {})
        if one.host.is_unspecified and others:
            return next(iter(others.values()))
        if other := others.get(one.host) or others.get(type(one.host)(0)):
            return other
    return None


def _leads_to_itself(rule: MappingRule) -> bool:
    same = rule.out_host == str(rule.host) or (rule.host.is_unspecified and contract.is_loopback(rule.out_host))
    return same and rule.ports.first <= rule.out_first <= rule.ports.last


def _error(one: DoorPorts, found: str, other: str) -> Diagnostic:
    message = f"expected ports that nothing else has, found {found}"
    notes = (Note(Place(other), "the other one"),)
    return Diagnostic(Code.DOOR_TAKEN, Severity.ERROR, message, Place(one.pointer), notes, "choose others")
