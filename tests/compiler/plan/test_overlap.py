"""An advice to remove an item is followed, alone and with all others: no packet's fate may change by it."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compiler.documents import ingress, text
from compiler.regions.draw import items
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic
from tng_compiler.diff.changes import compare
from tng_compiler.model.build import build
from tng_compiler.pipeline import Outcome, compile_bytes
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import Plan
from tng_compiler.shape.check import check

REMOVABLE = {Code.DUPLICATE_ITEM, Code.ITEM_COVERED}


def compiled(netfilter: dict[str, Any]) -> Outcome:
    """Compile an ingress; its listen port is no matter of what it captures."""
    return compile_bytes("x", text(ingress(netfilter | {"listen_port": 61000})))


def plan(netfilter: dict[str, Any]) -> Plan:
    """Compile an ingress that has no error."""
    made = compiled(netfilter).plan
    assert made
    return made


def advised(netfilter: dict[str, Any]) -> list[int]:
    """The indices of the items that the compiler says to remove, each once."""
    found = [item.diagnostic for item in compiled(netfilter).found if item.diagnostic.code in REMOVABLE]
    indices = [int(diagnostic.place.pointer.rpartition("/")[2]) for diagnostic in found]
    assert len(set(indices)) == len(indices)
    return indices


def without(netfilter: dict[str, Any], indices: list[int]) -> dict[str, Any]:
    """The same, the advice followed."""
    left = [item for index, item in enumerate(netfilter["capture_dst"]) if index not in indices]
    return netfilter | {"capture_dst": left}


@st.composite
def netfilters(draw: st.DrawFn) -> dict[str, Any]:
    """A capture with items that repeat and nest."""
    return {
        "capture_dst": draw(st.lists(items(), min_size=1, max_size=7)),
        "ipv6": draw(st.sampled_from(["capture", "reject", "bypass"])),
        "udp": draw(st.sampled_from(["reject", "bypass"])),
    }


def of(*destinations: dict[str, Any], **more: str | int) -> dict[str, Any]:
    """A capture of these."""
    return {"capture_dst": list(destinations), **more}


@settings(max_examples=300)
@given(netfilters())
@example(of({"host": "0.0.0.0/0"}, {"port": 8080}))
@example(of({"host": "0.0.0.0/0"}, {"host": "::/0"}, {"port": 8080}))
@example(of({"host": "0.0.0.0/0"}, {"port": 8080}, ipv6="bypass"))
@example(of({"host": "10.0.0.0/8"}, {"host": "10.0.0.1", "port": 53}))
@example(of({"host": "10.0.0.0/8"}, {"host": "10.0.0.1", "port": 53}, {"host": "10.0.0.2", "port": 53}))
@example(of({"port": 80}, {"port": 80}, {"host": "0.0.0.0/0", "port": 80}))
def test_following_an_advice_changes_no_fate(netfilter: dict[str, Any]) -> None:
    if compiled(netfilter).plan is None:
        return
    whole, indices = plan(netfilter), advised(netfilter)
    for some in [*([index] for index in indices), indices]:
        assert compare(whole, plan(without(netfilter, some))).empty, some


@pytest.mark.parametrize(
    ("netfilter", "codes"),
    [
        (of({"host": "0.0.0.0/0"}, {"port": 8080}), ["TNG406"]),
        (of({"host": "0.0.0.0/0"}, {"host": "::/0"}, {"port": 8080}), ["TNG405"]),
        (of({"host": "0.0.0.0/0"}, {"port": 8080}, ipv6="bypass"), ["TNG405"]),
        (of({"host": "0.0.0.0/0", "port": 80}, {"port": 80}), ["TNG405"]),
        (of({"port": 80}, {"port": 80}), ["TNG404"]),
        (of({"host": "10.0.0.0/8"}, {"host": "10.0.0.1", "port": 53}), ["TNG406"]),
        (of({"host": "10.0.0.0/8"}, {"host": "10.0.0.1", "port": 53}, udp="bypass"), ["TNG405"]),
        # Together the two wider ones have what the third has, though neither does alone.
        (
            of(
                {"host": "10.0.0.0/8", "port": 80, "port_end": 89},
                {"host": "10.0.0.0/9", "port": 90, "port_end": 99},
                {"host": "10.0.0.1", "port": 85, "port_end": 95},
            ),
            ["TNG405"],
        ),
        (of({"host": "10.0.0.0/8", "port": 80, "port_end": 90}, {"host": "10.0.0.1", "port": 85, "port_end": 95}),
         ["TNG406"]),
    ],
)  # fmt: skip
def test_what_is_said(netfilter: dict[str, Any], codes: list[str]) -> None:
    found = [item.diagnostic.code for item in compiled(netfilter).found]
    assert [code.value for code in found if code in {*REMOVABLE, Code.ITEMS_OVERLAP}] == codes


HOSTS = [f"10.{n >> 8}.{n & 255}.1" for n in range(40_000)]
CROWDED = {
    "many ports of a network around many hosts": [
        *({"host": "10.0.0.0/8", "port": port} for port in range(1, 40_000, 2)),
        *({"host": host, "port": 1 + 2 * n} for n, host in enumerate(HOSTS[:20_000])),
    ],
    "one network many times": [{"host": "10.0.0.0/8", "port": port, "port_end": port + 1} for port in range(1, 60_000)],
    "equal hosts": [{"host": "10.0.0.1", "port": 80}] * 60_000,
    "ports in networks in a network with ports": [
        *({"host": "10.0.0.0/8", "port": port} for port in range(1, 20_000, 2)),
        *({"host": f"{host[:-1]}0/24", "port": 2} for host in HOSTS),
        *({"host": host, "port": 3} for host in HOSTS),
    ],
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", list(CROWDED))
def test_crowded_networks_are_compared_in_bounded_time(name: str) -> None:
    destinations = CROWDED[name]
    random.Random(1).shuffle(destinations)
    data = json.dumps(ingress({"capture_dst": destinations})).encode()
    start = time.process_time()
    outcome = compile_bytes("x", data)
    assert time.process_time() - start < 20
    assert outcome.found


@st.composite
def shadowed(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Captures of an ingress, of which the last gets no connection, or few."""
    some = draw(st.lists(items(), min_size=1, max_size=3))
    made = []
    for index in range(draw(st.integers(2, 3))):
        mode: dict[str, Any] = {"capture_dst": [] if index == 0 and draw(st.booleans()) else some}
        mode["udp"] = draw(st.sampled_from(["reject", "reject", "bypass"]))
        mode["forwarded"] = draw(st.sampled_from(["reject", "capture", "bypass"]))
        if draw(st.booleans()):
            mode["capture_cgroup" if mode["forwarded"] != "capture" and index else "nocapture_cgroup"] = ["/a"]
        if mode["forwarded"] == "capture":
            mode["forwarded_interfaces"] = draw(st.sampled_from([[], ["docker0"], ["docker0", "br-*"]]))
        made.append(mode | {"listen_port": 61000 + index})
    return made


@settings(max_examples=300, deadline=None)
@given(shadowed())
@example([of(listen_port=61000), of({"port": 53}, listen_port=61001)])
@example([of({"port": 80}, udp="bypass", listen_port=61000), of({"port": 80}, listen_port=61001)])
@example([of({"port": 80}, listen_port=61000), of({"port": 80}, listen_port=61001)])
def test_an_entry_may_be_removed_only_if_that_opens_nothing(modes: list[dict[str, Any]]) -> None:
    def planned(some: list[dict[str, Any]]) -> tuple[Plan, tuple[Diagnostic, ...]]:
        entries = [{"netfilter": mode, "no_ra": True} for mode in some]
        model = build(check(json.loads(text({"add_ingress": entries}))))
        assert model.config
        return build_plan(model.config, "0" * 64)

    whole, found = planned(modes)
    for diagnostic in found:
        if diagnostic.code is Code.ENTRY_SHADOWED and "or remove it" in (diagnostic.help or ""):
            index = int(diagnostic.place.pointer.rpartition("/")[2])
            changes = compare(whole, planned([*modes[:index], *modes[index + 1 :]])[0]).changes
            assert [change for change in changes if change.before.why != "listener"] == []
