"""The plan verifier finds every plan that our own code must never make."""

from __future__ import annotations

from dataclasses import replace

import pytest

from packets.make import config, entry
from tng_compiler.algebra.space import Box, Ports, Region
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import CgroupLevel, Plan
from tng_compiler.plan.verify import PlanBug, verify

PLAN, _ = build_plan(
    config(
        entry("ingress", 0, [{"host": "10.0.0.0/24", "port": 80}, {"port": 90}], cgroup=["a/b"]),
        entry("ingress", 1, [{"port": 8080}], ipv6="reject"),
    ),
    "0" * 64,
)


def _first(**changes: object) -> Plan:
    return replace(PLAN, entries=(replace(PLAN.entries[0], **changes), *PLAN.entries[1:]))  # type: ignore[arg-type]  # by name


def _region(*boxes: Box, ports: tuple[Ports, ...] = ()) -> tuple[Region]:
    return (Region("ipv4", ports, boxes),)


BROKEN = {
    "no entry": replace(PLAN, entries=()),
    "the same entry twice": replace(PLAN, entries=(PLAN.entries[0], PLAN.entries[0])),
    "one listen port for two": _first(listen_port=PLAN.entries[1].listen_port),
    "no listen port": _first(listen_port=0),
    "a mark of nothing": _first(so_mark=0),
    "nothing captured": _first(captured=(), captured_sets=()),
    "an ingress with local traffic": _first(local_traffic=True),
    "captured and rejected": _first(rejected=PLAN.entries[0].captured),
    "overlapping boxes": _first(captured=_region(Box(0, 9, Ports(80, 80)), Box(5, 20, Ports(79, 81)))),
    "the same box twice": _first(captured=_region(Box(0, 9, Ports(80, 80)), Box(0, 9, Ports(80, 80)))),
    "boxes out of order": _first(captured=_region(Box(20, 29, Ports(80, 80)), Box(0, 9, Ports(80, 80)))),
    "a box outside of its family": _first(captured=_region(Box(0, 1 << 32, Ports(80, 80)))),
    "a box inside out": _first(captured=_region(Box(9, 0, Ports(80, 80)))),
    "ports inside out": _first(captured=_region(Box(0, 9, Ports(81, 80)))),
    "ports that touch": _first(captured=_region(ports=(Ports(1, 2), Ports(3, 4)))),
    "a cgroup at another depth": _first(inside=(CgroupLevel(1, ("a/b",)),)),
}


def test_a_plan_of_ours_is_sound() -> None:
    verify(PLAN)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_plan_is_a_bug_of_ours(fault: str) -> None:
    with pytest.raises(PlanBug):
        verify(BROKEN[fault])
