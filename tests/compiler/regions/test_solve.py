"""The algebra says of every flow what the rule tree does with it, and its regions are a partition of all traffic."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.regions.draw import BASE, CGROUPS, decided, plans
from tng_compiler.algebra.space import Family
from tng_compiler.model.types import Role
from tng_compiler.plan.interfaces import kinds_matter, spelled, told_apart
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import PROTOCOLS, Way
from tng_compiler.regions.flow import Flow, witness
from tng_compiler.regions.solve import Region, solve

PROBED = (0, 1, 6, 7, 8, 52, 53, 54, 79, 80, 81, 82, 85, 40000, 40001, 40002, 40010, 40011, 40015, 40021, 65535)


WAYS: tuple[Way, ...] = ("out", "in", "within", "through")


def flows(plan: Plan) -> list[Flow]:
    """Flows at every corner."""
    addresses: list[tuple[Family, int]] = [("ipv4", BASE[4] + offset) for offset in (-1, 0, 1, 5, 8)]
    addresses += [("ipv6", BASE[6] + offset) for offset in (-1, 0, 3, 8)]
    names = sorted({group.name for group in plan.operator_sets})
    held = [{name: name in some for name in names} for n in range(len(names) + 1) for some in combinations(names, n)]
    takes = [entry.takes for entry in plan.entries]
    incoming = [spelled(each, kinds=kinds_matter(takes)) for each in told_apart(takes)]
    return [
        Flow(way, protocol, family, address, port, cgroup, tuple(sets.items()), interface)
        for way in WAYS
        for protocol in PROTOCOLS
        for family, address in addresses
        for port in PROBED
        for cgroup in (["", *CGROUPS, "other"] if way in ("out", "in") else [""])
        for interface in (incoming if way == "through" else [None])
        for sets in held
    ]


def holds(region: Region, flow: Flow) -> bool:
    """Whether ``flow``, whose cgroup is one that is named, is in ``region``."""
    if (region.way, region.protocol, region.family) != (flow.way, flow.protocol, flow.family):
        return False
    if region.cgroups is not None and flow.cgroup not in region.cgroups:
        return False
    if region.interfaces is not None and flow.interface not in region.interfaces:
        return False
    return all(dict(flow.sets)[name] == held for name, held in region.sets) and any(
        first <= flow.address <= last and any(low <= flow.port <= high for low, high in ports)
        for first, last, ports in region.rows
    )


def in_named_cgroup(plan: Plan, flow: Flow, more: Sequence[str] = ()) -> Flow:
    """The flow in the nearest cgroup around its own that an entry of its role names, or that is one of ``more``."""
    role: Role = "ingress" if flow.way in ("out", "through") else "egress"
    levels = (level for entry in plan.of(role) for level in (*entry.inside, *entry.outside))
    named = {path for level in levels for path in level.paths} | set(more)
    cgroup = flow.cgroup or ""
    while cgroup and cgroup not in named:
        cgroup = cgroup.rpartition("/")[0]
    return replace(flow, cgroup=cgroup)


@settings(max_examples=60)
@given(plans(), st.randoms(use_true_random=False))
def test_the_algebra_and_the_rule_tree_agree(plan: Plan, chance: random.Random) -> None:
    regions = list(solve([plan], lambda view: view.fates[0]))
    every = flows(plan)
    for flow in chance.sample(every, min(len(every), 400)):
        named = in_named_cgroup(plan, flow)
        (region,) = [region for region in regions if holds(region, named)]
        said, done = region.answer, decided(plan, flow)
        assert said.kind == done.kind, (str(flow), said)
        if done.kind == "captured":
            assert said.entry == done.entry, (str(flow), said)


@settings(max_examples=60)
@given(plans())
def test_a_witness_is_decided_as_its_region_says(plan: Plan) -> None:
    for region in solve([plan], lambda view: view.fates[0]):
        flow = witness(region)
        done = decided(plan, flow)
        assert (region.answer.kind, region.answer.entry if done.entry else "") == (done.kind, done.entry), str(flow)
