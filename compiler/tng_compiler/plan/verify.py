"""What must hold of a plan whatever the user wrote: a failure here is a bug of ours, never a diagnostic."""

from __future__ import annotations

from bisect import bisect_left
from heapq import heappop, heappush
from itertools import pairwise

from tng_compiler.algebra.space import BITS, EVERY_PORT, FAMILIES, Ports, Region
from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, Plan


class PlanBug(Exception):
    """An invariant of the plan does not hold. The message is for a bug report."""


def verify(plan: Plan) -> None:
    """Raise ``PlanBug`` if the plan could capture wrongly, lose a connection or capture its own."""
    _require(bool(plan.entries or plan.doors), "a plan has an entry")
    _unique("name", [entry.name for entry in plan.entries])
    _unique("pointer", [entry.pointer for entry in plan.entries])
    _unique("listen port", [str(entry.listen_port) for entry in plan.entries])
    _require(0 < plan.zone <= 0xFFFF, f"conntrack zone {plan.zone}")
    labels = (plan.published_label, plan.judged_label)
    _require(0 <= min(labels) < max(labels) <= 127, f"conntrack labels {labels}")
    _names(plan)
    for entry in plan.entries:
        _listener(entry)
        _require(entry.so_mark in plan.marks and entry.so_mark > 0, f"{entry.name}: its own traffic is not exempt")
        for region in (*entry.captured, *entry.rejected):
            _disjoint(entry.name, region)
        for group in (*entry.captured_sets, *entry.rejected_sets):
            _separate(f"{entry.name}: ports of {group.name}", group.ports)
        for level in (*entry.inside, *entry.outside):
            depths = {path.count("/") + 1 for path in level.paths}
            _require(depths == {level.level}, f"{entry.name}: cgroups of depth {depths} in level {level.level}")


def _names(plan: Plan) -> None:
    """A set of ours and one of the operator's must not be taken for each other, nor for a word of nft."""
    every = [*names.sets(plan), *(group.name for group in plan.operator_sets)]
    _unique("set", every)
    taken = [name for name in every if name in names.RESERVED or len(name) > names.LONGEST or name == plan.guard_table]
    _require(not taken, f"nft does not take the names {taken}")


def _listener(entry: Interception) -> None:
    _require(0 < entry.listen_port <= EVERY_PORT.last, f"{entry.name}: listen port {entry.listen_port}")
    _require(bool(entry.families), f"{entry.name}: captures nothing")
    taken = {region.family for region in entry.captured} | {group.family for group in entry.captured_sets}
    refused = {region.family for region in entry.rejected} | {group.family for group in entry.rejected_sets}
    _require(not taken & refused, f"{entry.name}: {taken & refused} is captured and rejected")
    _require(taken <= set(FAMILIES), f"{entry.name}: families {taken}")
    _require(entry.role == "egress" or not entry.local_traffic, f"{entry.name}: an ingress captures local traffic")


def _disjoint(name: str, region: Region) -> None:
    """Sweep over the boxes by address; the port intervals that are open at a time must be separate."""
    limit = 1 << BITS[region.family]
    _separate(f"{name}: {region.family} ports", region.ports)
    opened: list[tuple[int, int]] = []
    ends: list[tuple[int, tuple[int, int]]] = []
    before = -1
    for box in region.boxes:
        first, last, ports = box.first, box.last, (box.ports.first, box.ports.last)
        if not before <= first <= last < limit:
            raise PlanBug(f"{name}: {box} is out of order or outside {region.family}")
        before = first
        while ends and ends[0][0] < first:
            opened.remove(heappop(ends)[1])
        at = bisect_left(opened, ports)
        if ports[0] > ports[1] or any(
            one <= ports[1] and ports[0] <= two for one, two in opened[max(at - 1, 0) : at + 1]
        ):
            raise PlanBug(f"{name}: {box} overlaps others in its ports")
        opened.insert(at, ports)
        heappush(ends, (last, ports))


def _separate(what: str, ports: tuple[Ports, ...]) -> None:
    _require(all(one.last + 1 < two.first for one, two in pairwise(ports)), f"{what}: {ports} is not disjoint")


def _unique(what: str, values: list[str]) -> None:
    _require(len(set(values)) == len(values), f"two entries share a {what}: {values}")


def _require(holds: bool, claim: str) -> None:
    if not holds:
        raise PlanBug(claim)
