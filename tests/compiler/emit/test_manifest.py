"""What the manifest tells the runtime to fill and to look at, beside its goldens."""

from __future__ import annotations

import json
from typing import Any

import pytest

from packets.make import Destination, config, entry
from tng_compiler.emit import manifest, nft
from tng_compiler.model.types import Config
from tng_compiler.plan.build import build_plan


def made(document: Config) -> dict[str, Any]:
    plan, _ = build_plan(document, "0" * 64)
    read: dict[str, Any] = json.loads(manifest.render(plan, nft.render(plan), nft.render_guard(plan)))
    return read


def test_each_set_of_the_operator_names_the_ipset_that_fills_it() -> None:
    document = config(entry("ingress", 0, [{"ipset": "v6"}, {"ipset": "x", "port": 1}], ipv6="reject"))
    assert made(document)["ipsets"] == [
        {"set": "v6", "ipset": "v6", "family": "ipv4"},
        {"set": "v66", "ipset": "v6", "family": "ipv6"},
        {"set": "x", "ipset": "x", "family": "ipv4"},
        {"set": "x6", "ipset": "x", "family": "ipv6"},
    ]
    document = config(entry("ingress", 0, [{"ipset": "v6"}], ipv6="bypass"))
    assert made(document)["ipsets"] == [{"set": "v6", "ipset": "v6", "family": "ipv4"}]


@pytest.mark.parametrize(
    ("destinations", "ports"),
    [
        ([{"port": 80}, {"host": "10.0.0.1", "port": 81}, {"ipset": "x", "port": 90}], [[80, 81], [90, 90]]),
        ([{"host": "fd00::1", "port": 7}], [[7, 7]]),
        ([{"port": 80}, {"host": "10.0.0.1"}], None),
        ([{"ipset": "x"}], None),
        ([], None),
        (None, None),
    ],
)  # fmt: skip
def test_the_ports_of_a_service_are_told_where_some_are_named(
    destinations: list[Destination] | None, ports: list[list[int]] | None
) -> None:
    told = made(config(entry("egress", 0, destinations, cgroup=("b.slice", "a.slice/x"))))["cgroups"]["services"]
    assert told == ([{"entry": "/add_egress/0", "paths": ["a.slice/x", "b.slice"], "ports": ports}] if ports else [])


def test_only_an_egress_that_captures_by_cgroup_has_a_service_to_look_for() -> None:
    document = config(
        entry("ingress", 0, [{"port": 80}], cgroup=("a",)), entry("egress", 0, [{"port": 80}], nocgroup=("a",))
    )
    assert made(document)["cgroups"]["services"] == []
