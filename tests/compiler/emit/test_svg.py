"""The picture: goldens, well formed for every example, its words inside their columns, and no word lost to markup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from syrupy.assertion import SnapshotAssertion

from compiler.documents import EXAMPLES
from tng_compiler.emit import svg
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import CgroupLevel, Plan

ROOT = Path(__file__).parents[3]
NAMES = [path.stem for path in EXAMPLES]
SPACE = "{http://www.w3.org/2000/svg}"


def plan_of(name: str) -> Plan:
    plan = compile_bytes(f"{name}.json", (ROOT / f"examples/{name}.json").read_bytes()).plan
    assert plan
    return plan


@pytest.mark.parametrize(
    "name",
    [
        "mesh_mutual",
        "ingress_cgroup",
        "ingress_no_ra",
        "egress_ipv6_reject",
        "ingress_list",
        "mesh_mapping",
        "ingress_socks5",
    ],
)
def test_the_picture_reads_as_its_golden(name: str, golden: SnapshotAssertion) -> None:
    assert svg.render(plan_of(name)) == golden(name=f"emit/{name}.svg")


@pytest.mark.parametrize("name", NAMES)
def test_every_word_is_inside_the_picture_and_ends_before_the_next_shape(name: str) -> None:
    picture = ElementTree.fromstring(svg.render(plan_of(name)))
    width, height = (int(word) for word in picture.attrib["viewBox"].split()[2:])
    boxes = [rect for rect in picture.iter(f"{SPACE}rect") if rect.get("class") in ("box", "gate")]
    lefts = sorted({int(box.attrib["x"]) for box in boxes} | {width})
    for text in picture.iter(f"{SPACE}text"):
        x, y = int(text.attrib["x"]), int(text.attrib["y"])
        assert 0 < y < height
        if text.get("class") == "label":
            end = x + len(text.text or "") * 7.3
            assert end <= next(left for left in lefts if left > x), text.text


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_has_its_capture_its_proofs_and_its_refusals(name: str) -> None:
    plan = plan_of(name)
    words = [text.text or "" for text in ElementTree.fromstring(svg.render(plan)).iter(f"{SPACE}text")]
    proofs = sum(1 for entry in plan.all_entries for side in (entry.verify, entry.attest) if side)
    assert sum(word.startswith("proves itself") for word in words) == proofs
    assert sum("(no_ra)" in word for word in words) == sum(not e.verify and not e.attest for e in plan.all_entries)
    assert sum(word.startswith("✕ refused") for word in words) == len(plan.entries)
    assert [entry.pointer for entry in plan.all_entries if entry.pointer not in words] == []
    assert sum("routing rule 116" in word for word in words) == (plan.way_back is not None)


def test_markup_in_a_path_stays_text() -> None:
    plan = plan_of("ingress_cgroup")
    entry = replace(plan.entries[0], inside=(CgroupLevel(1, ('<b>&"\x1b',)),))
    picture = ElementTree.fromstring(svg.render(replace(plan, entries=(entry,))))
    assert 'only in /<b>&"\\u001b' in [text.text for text in picture.iter(f"{SPACE}text")]


def test_the_picture_of_the_documentation_is_that_of_the_example() -> None:
    assert (ROOT / "docs/mesh_mutual.svg").read_text("utf-8") == svg.render(plan_of("mesh_mutual"))
