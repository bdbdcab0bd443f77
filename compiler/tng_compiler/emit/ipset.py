"""The regions of a plan as ipsets: prefixes, beside single ports in one set, or one set for a wider port interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tng_compiler.algebra.space import BITS, Box, Family, Ports, Region
from tng_compiler.algebra.text import ADDRESS
from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules.tree import Protocol

_INET = {"ipv4": "inet", "ipv6": "inet6"}
_SMALLEST = 1024


@dataclass(frozen=True, slots=True)
class Members:
    """One ipset: prefixes for ``ports``, or if that is None prefixes with a port each, once for each protocol."""

    name: str
    family: Family
    ports: Ports | None
    lines: tuple[str, ...]


def members(entry: Interception, region: Region) -> Iterator[Members]:
    """Yield the sets of one region. Names have at most 31 characters (ipset(8))."""
    single = [box for box in region.boxes if box.ports.first == box.ports.last]
    wider: dict[Ports, list[Box]] = {}
    for box in region.boxes:
        if box.ports.first < box.ports.last:
            wider.setdefault(box.ports, []).append(box)
    if single:
        protocols: tuple[Protocol, ...] = ("tcp", "udp") if entry.udp == "reject" else ("tcp",)
        lines = [
            f"{prefix},{protocol}:{box.ports.first}"
            for box in single
            for prefix in prefixes(region.family, box)
            for protocol in protocols
        ]
        yield Members(names.ipset(entry, region.family, None), region.family, None, tuple(lines))
    for ports in sorted(wider):
        lines = [prefix for box in wider[ports] for prefix in prefixes(region.family, box)]
        yield Members(names.ipset(entry, region.family, ports), region.family, ports, tuple(lines))


def prefixes(family: Family, box: Box) -> Iterator[str]:
    """Split an address interval into the fewest prefixes. None has length 0, which ipset would refuse."""
    bits, address = BITS[family], ADDRESS[family]
    first = box.first
    while first <= box.last:
        size = min(first & -first or 1 << bits, 1 << (box.last - first + 1).bit_length() - 1)
        yield f"{address(first)}/{bits - size.bit_length() + 1}"
        first += size


def by_set(plan: Plan) -> dict[str, tuple[Members, ...]]:
    """The ipsets that stand for each address set of the rule tree."""
    return {
        names.boxes(entry, region.family): tuple(members(entry, region))
        for entry in plan.entries
        for region in (*entry.captured, *entry.rejected)
        if region.boxes
    }


def set_lines(plan: Plan) -> Iterator[str]:
    """Yield lines for ``ipset restore`` that fill each set beside its place and swap it in."""
    for group in _all(plan):
        kind = "hash:net" if group.ports else "hash:net,port"
        size = f"family {_INET[group.family]} maxelem {max(len(group.lines), _SMALLEST)}"
        yield f"create {group.name} {kind} {size} -exist"
        yield f"create {names.FILLING} {kind} {size}"
        yield from (f"add {names.FILLING} {line}" for line in group.lines)
        yield f"swap {names.FILLING} {group.name}"
        yield f"destroy {names.FILLING}"


def operator_lines(plan: Plan) -> Iterator[str]:
    """Yield the creation of the operator's sets where they are not there yet; their content is not ours."""
    for group in plan.operator_sets:
        yield f"create {group.name} hash:net family {_INET[group.family]} -exist"


def set_names(plan: Plan) -> tuple[str, ...]:
    """The sets that are ours to remove."""
    return tuple(group.name for group in _all(plan))


def _all(plan: Plan) -> Iterator[Members]:
    for groups in by_set(plan).values():
        yield from groups
