"""Every example in every output, as files that people review: snapshots/emit/<example>.<extension of the output>."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from syrupy.assertion import SnapshotAssertion

from compiler.conftest import SNAPSHOTS
from compiler.documents import EXAMPLES
from tng_compiler.emit import diagram, iptables, iptables_limits, manifest, nft, plan_text
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan
from tng_runtime.manifest import parse_manifest
from tng_schema import load

NAMES = [path.stem for path in EXAMPLES]
NOT_IN_IPTABLES = {
    "egress_client_address": "client_address",
    "egress_cgroup": "capture_cgroup",
    "ingress_forwarded": "forwarded",
}
FILES = {path.stem: path for path in EXAMPLES}


@cache
def plan_of(name: str) -> Plan:
    """The plan of an example."""
    plan = compile_bytes(f"{name}.json", FILES[name].read_bytes()).plan
    assert plan is not None
    return plan


@pytest.mark.parametrize("name", NAMES)
def test_the_ruleset_reads_as_its_golden(name: str, golden: SnapshotAssertion) -> None:
    assert nft.render(plan_of(name)) == golden(name=f"emit/{name}.nft")


@pytest.mark.parametrize("name", NAMES)
def test_the_guard_reads_as_its_golden(name: str, golden: SnapshotAssertion) -> None:
    assert nft.render_guard(plan_of(name)) == golden(name=f"emit/{name}.guard.nft")


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_reads_as_its_golden(name: str, golden: SnapshotAssertion) -> None:
    assert plan_text.render(plan_of(name)) == golden(name=f"emit/{name}.txt")


@pytest.mark.parametrize("name", NAMES)
def test_the_diagram_reads_as_its_golden(name: str, golden: SnapshotAssertion) -> None:
    assert diagram.render(plan_of(name)) == golden(name=f"emit/{name}.mmd")


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_IN_IPTABLES.keys()))
def test_the_iptables_script_reads_as_its_golden(name: str, golden: SnapshotAssertion) -> None:
    assert iptables.render(plan_of(name)) == golden(name=f"emit/{name}.rules")


@pytest.mark.parametrize("name", sorted(NOT_IN_IPTABLES))
def test_what_iptables_cannot_express_is_refused_by_name(name: str) -> None:
    with pytest.raises(iptables_limits.CannotExpressError) as refused:
        iptables.render(plan_of(name))
    (field,) = [found.place.pointer.rpartition("/")[2] for found in refused.value.found]
    assert field == NOT_IN_IPTABLES[name]


@pytest.mark.parametrize("name", NAMES)
def test_the_manifest_is_canonical_and_what_the_runtime_reads(name: str, golden: SnapshotAssertion) -> None:
    plan = plan_of(name)
    text = manifest.render(plan, nft.render(plan), nft.render_guard(plan))
    assert text == golden(name=f"emit/{name}.json")
    document = json.loads(text)
    Draft202012Validator(load("manifest")).validate(document)
    assert text == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"
    read = parse_manifest(text.encode())
    captured = [entry.listen_port for entry in plan.entries]
    assert [entry.listen_port for entry in read.entries] == captured + [0] * len(plan.doors)
    assert [entry.pointer for entry in read.entries if entry.is_door] == [door.pointer for door in plan.doors]


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_says_where_it_comes_from(name: str) -> None:
    plan = plan_of(name)
    for line in nft.render(plan).splitlines():
        comments = [part.split('"')[0] for part in line.split('comment "')[1:]]
        assert all(len(comment.encode()) <= 128 for comment in comments)
        if " redirect to " in line or " counter name ingress" in line or " counter name egress" in line:
            assert comments
            assert any(comment == entry.pointer for comment in comments for entry in plan.entries)


def test_no_golden_outlives_its_example() -> None:
    assert {path.name.partition(".")[0] for path in (SNAPSHOTS / "emit").iterdir()} == set(NAMES)


def test_an_example_is_named_after_role_and_feature() -> None:
    assert [name for name in NAMES if not name.startswith(("ingress_", "egress_", "mesh_"))] == []


def test_the_same_text_gives_the_same_bytes() -> None:
    for name in NAMES:
        again = compile_bytes("elsewhere.json", Path(FILES[name]).read_bytes()).plan
        assert again == plan_of(name)
