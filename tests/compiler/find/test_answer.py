"""What a pattern finds is what it means, told by the rule tree; what it does not find is not there."""

from __future__ import annotations

import random
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.documents import VERIFY, ingress, text
from compiler.regions.draw import decided, plans
from compiler.regions.test_solve import flows, holds, in_named_cgroup
from tng_compiler.explain.ask import ask
from tng_compiler.explain.flow import Flow as ExplainedFlow
from tng_compiler.explain.flow import parse as parse_flow
from tng_compiler.find.mistakes import PatternError
from tng_compiler.find.pattern import parse
from tng_compiler.find.search import find
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import Fate
from tng_compiler.regions.flow import Flow, witness

Meaning = Callable[[Flow, Fate], bool]
NETWORKS = ["10.0.0.0/30", "10.0.0.4/31", "0.0.0.0/0", "fd00::/127", "10.0.0.5"]
DIRECTIONS = {"ingress": "out", "egress": "in", "forwarded": "through", "local": "within"}


def kind(word: str) -> Meaning:
    """Of a fate."""
    return lambda flow, fate: fate.kind == word


def way(word: str) -> Meaning:
    """Of a direction."""
    return lambda flow, fate: flow.way == DIRECTIONS[word]


def protocol(word: str) -> Meaning:
    """Of a protocol."""
    return lambda flow, fate: flow.protocol == word


def inside(network: str) -> Meaning:
    """Of a destination."""
    parsed = ip_network(network)
    size = 4 if parsed.version == 4 else 16
    return lambda flow, fate: (
        flow.family == f"ipv{parsed.version}" and ip_address(flow.address.to_bytes(size, "big")) in parsed
    )


def port(low: int, high: int) -> Meaning:
    """Of ports."""
    return lambda flow, fate: low <= flow.port <= high


def cgroup(path: str) -> Meaning:
    """Of a cgroup."""
    return lambda flow, fate: (
        flow.way != "through" and (flow.cgroup == path or (flow.cgroup or "").startswith(f"{path}/"))
    )


WORDS = st.one_of(
    st.sampled_from([(word, kind(word)) for word in ("captured", "passed", "refused")]),
    st.sampled_from([(word, way(word)) for word in DIRECTIONS]),
    st.sampled_from([(word, protocol(word)) for word in ("tcp", "udp")]),
    st.sampled_from([(f"to {network}", inside(network)) for network in NETWORKS]),
    st.sampled_from([("port 53-80", port(53, 80)), ("port 1", port(1, 1)), ("port 40010", port(40010, 40010))]),
    st.sampled_from([(f"cgroup /{path}", cgroup(path)) for path in ("app", "app/web", "sys")]),
)


def joined(parts: list[tuple[str, Meaning]], word: str) -> tuple[str, Meaning]:
    """All or any of several."""
    one = all if word == "and" else any
    return f" {word} ".join(f"({part[0]})" for part in parts), lambda flow, fate: one(p[1](flow, fate) for p in parts)


PATTERNS = st.recursive(
    WORDS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: joined(parts, "and")),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: joined(parts, "or")),
        inner.map(lambda part: (f"not ({part[0]})", lambda flow, fate: not part[1](flow, fate))),
    ),
    max_leaves=5,
)


@settings(max_examples=60)
@given(plans(), PATTERNS, st.randoms(use_true_random=False))
def test_what_is_found_is_what_the_pattern_means(
    plan: Plan, pattern: tuple[str, Meaning], chance: random.Random
) -> None:
    parsed = parse(pattern[0], plan)
    regions = find(plan, parsed)
    for region in regions:
        flow = witness(region)
        done = decided(plan, flow)
        assert done.kind == region.answer.kind
        assert pattern[1](flow, done), (pattern[0], str(flow))
    every = flows(plan)
    for flow in chance.sample(every, min(200, len(every))):
        if pattern[1](flow, decided(plan, flow)):
            around = in_named_cgroup(plan, flow, parsed.named.cgroups)
            assert [region for region in regions if holds(region, around)], (pattern[0], str(flow))


def plan_of(document: object) -> Plan:
    """Compile a document."""
    plan = compile_bytes("x", text(document)).plan
    assert plan
    return plan


PLAN = plan_of(
    {
        "add_ingress": [
            {"netfilter": {"capture_dst": [{"host": "10.0.0.0/8"}, {"ipset": "office", "port": 80}]}, "verify": VERIFY},
            {"netfilter": {"capture_dst": {"port": 443}}, "no_ra": True},
        ]
    }
)


@pytest.mark.parametrize(
    ("pattern", "some"),
    [
        ("captured and port 80", True),
        ("captured by /add_ingress/1 and to 10.0.0.0/8", False),
        ("captured by /add_ingress/1 and to 11.0.0.1:443", True),
        ("captured and not in set office and not to 10.0.0.0/8 and port 80", False),
        ("no_ra and port 443", True),
        ("verified and ipv6 and not in set office", False),
        ("passed and tcp and ingress and to 10.0.0.0/8", False),
        ("passed and udp and ingress and to 10.0.0.0/8 and not port 53", False),
        ("passed and (ingress or forwarded) and to [2001:db8::1]:443 and tcp", False),
        ("passed and to 2001:db8::/32", True),
        ("egress", True),
        ("attested", False),
        ("passed and forwarded and tcp and to 10.0.0.1:80", False),
        ("passed and forwarded and to 11.0.0.1:80 and not in set office", True),
        ("captured and established", False),
        ("captured and runtime down", False),
        ("passed and runtime down and tcp and ingress and to 10.0.0.0/8", False),
        (
            "passed and (established or new) and (runtime up or runtime down) and ingress and tcp and to 10.0.0.0/8",
            False,
        ),
        ("established and udp", False),
        (f"{'not ' * 90}(udp and port {'0' * 5000}443)", True),
    ],
)
def test_patterns(pattern: str, *, some: bool) -> None:
    assert bool(find(PLAN, parse(pattern, PLAN))) is some


@pytest.mark.parametrize(
    ("pattern", "position", "message"),
    [
        ("", 0, "found the end"),
        ("captured and prot 5", 13, "found `prot`"),
        ("captured andd port 5", 9, "found `andd`"),
        ("captured by /add_ingress/7", 12, "which is none"),
        ("to 10.0.0.1/8", 3, "host bits set"),
        ("port 70000", 5, "from 0 to 65535"),
        ("(captured", 9, "`)`"),
        ("cgroup /", 7, "the root"),
        ("in set home", 7, "which is none"),
        ("passed \u00a0", 7, "found `\\\\u00a0`"),
        (f"port {'9' * 5000}", 5, "from 0 to 65535"),
        (f"to 10.0.0.1:{'9' * 5000}", 3, "from 0 to 65535"),
        ("to 10.0.0.1:", 3, "from 0 to 65535"),
        ("to 10.0.0.1:8a", 3, "found `8a`"),
        (f"{'not ' * 2000}tcp", 8000, "at most 100"),
        (f"{'not (udp or ' * 300}tcp{')' * 300}", 593, "at most 100"),
    ],
)
def test_what_cannot_be_read_is_said_with_its_place(pattern: str, position: int, message: str) -> None:
    with pytest.raises(PatternError, match=message.replace("(", r"\(").replace(")", r"\)")) as caught:
        parse(pattern, PLAN)
    assert caught.value.position == position


def test_every_direction_is_looked_at_with_entries_or_without() -> None:
    plan = plan_of(ingress({"capture_dst": []}))
    assert not find(plan, parse("passed and tcp and ingress", plan))
    assert {region.way for region in find(plan, parse("passed and tcp", plan))} == {"in", "within"}


STATES = ["established", "runtime down", "established and runtime down", "not (new and runtime up)"]


@settings(max_examples=15)
@given(st.data())
def test_a_witness_of_another_state_has_the_fate_that_explain_tells(data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([OF_BOTH, OF_DOORS]))
    state, pattern = data.draw(st.sampled_from(STATES)), data.draw(st.sampled_from(["captured", "refused", "passed"]))
    outcome = compile_bytes("x", text(document))
    assert outcome.plan
    assert outcome.config
    for region in find(outcome.plan, parse(f"{pattern} and {state}", outcome.plan)):
        flow = parse_flow(str(witness(region)))
        assert isinstance(flow, ExplainedFlow), flow
        answer = ask(outcome.plan, outcome.config, flow)
        assert answer.fate == region.answer.kind, str(witness(region))
        assert all(case.entry == region.answer.entry for case in answer.cases if region.answer.why in ("older", "down"))


OF_BOTH: dict[str, Any] = {
    "add_ingress": [
        {
            "netfilter": {
                "capture_dst": [{"host": "10.0.0.0/8"}],
                "nocapture_cgroup": ["/backup"],
                "listen_port": 15001,
            },
            "verify": VERIFY,
        },
        {"netfilter": {"capture_dst": [{"ipset": "office", "port": 443}]}, "verify": VERIFY},
    ],
    "add_egress": [{"netfilter": {"capture_dst": {"port": 8080}, "capture_local_traffic": True}, "no_ra": True}],
}


OF_DOORS: dict[str, Any] = {
    "add_ingress": [
        {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": 1080}}, "verify": VERIFY},
        {
            "netfilter": {"capture_dst": {"port": 443}, "forwarded": "capture", "forwarded_interfaces": "br-*"},
            "no_ra": True,
        },
    ],
    "add_egress": [{"mapping": {"in": {"port": 20001}, "out": {"host": "127.0.0.1", "port": 80}}, "no_ra": True}],
}
DOORS = plan_of(OF_DOORS)


@pytest.mark.parametrize(
    ("pattern", "witnesses"),
    [
        ("taken and verified", ["egress tcp from local to 127.0.0.1:1080"]),
        ("taken by /add_egress/0 and ipv4 and egress", ["egress tcp to 192.0.2.1:20001"]),
        ("taken and egress and not to 0.0.0.0/0:20001", []),
        ("captured and forwarded and ipv4", ["forwarded tcp to 192.0.2.1:443 over br-*"]),
        ("refused and forwarded and tcp and ipv4", ["forwarded tcp to 192.0.2.1:443 over other"]),
        ("captured and over br-5 and ipv4", ["forwarded tcp to 192.0.2.1:443 over br-5"]),
        ("refused and tcp and over docker0 and ipv4", ["forwarded tcp to 192.0.2.1:443 over docker0"]),
        ("not captured and tcp and over br-5 and port 443", []),
    ],
)
def test_doors_and_interfaces_are_found(pattern: str, witnesses: list[str]) -> None:
    assert [str(witness(region)) for region in find(DOORS, parse(pattern, DOORS))] == witnesses


@pytest.mark.parametrize(
    ("pattern", "meant"), [("plaintext", "passed"), ("captured && udp", "and"), ("not blocked", "refused")]
)
def test_what_people_write_instead_is_known(pattern: str, meant: str) -> None:
    with pytest.raises(PatternError) as caught:
        parse(pattern, PLAN)
    assert caught.value.help == f"did you mean `{meant}`?"
