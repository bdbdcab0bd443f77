"""Packet truth: what the rules do to real connections, against what the manual promises, by backend."""

from __future__ import annotations

import re
from contextlib import closing

import pytest

from packets.flows import CONFIGS, FLOWS, NOT_THERE, OLDER
from packets.run import rules, wrong_flows

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

BACKENDS = ("nft", "iptables")
CASES = [(name, backend) for name in CONFIGS for backend in BACKENDS if (name, backend) not in NOT_THERE]

# Each clause of the guard and of the capture, as a line that is taken out, and a configuration that must miss it.
CLAUSES = {
    "requests that leave": ("ingress_port", r"\t\tjump ingress_0_guard.*\n"),
    "requests that arrive": ("egress_port", r"\t\tjump egress_0_guard.*\n"),
    "answers of services that leave": ("egress_port", r"\t\tjump egress_0_answers.*\n"),
    "listeners out of reach": ("egress_port", r".*counter name direct_to_listener.*\n"),
    "own sockets exempt from the redirect": ("mesh", r"(?<=-105; policy accept;\n)\t\tsocket mark.*\n"),
    "own sockets exempt from the guard": ("ingress_port", r"(?<=-5; policy accept;\n)\t\tsocket mark.*\n"),
    "what this host sends to itself": ("egress_port", r".*iif \"lo\" return.*\n"),
    "local destinations of an ingress": ("ingress_port", r".*oif \"lo\" return.*\n"),
    "local requests past the redirect": ("egress_local", r"\t\tjump egress_0_guard.*\n"),
    "local answers to our own sockets": ("egress_local", r".*ct original zone 29799 return.*\n"),
    "what was redirected": ("ingress_all", r".*was redirected.*\n"),
    "what was redirected within the host": ("egress_local_all", r".*was redirected.*\n"),
    "answers to who came in": ("ingress_all", r".*answers who came in.*\n"),
    "answers to who begins to come in": ("ingress_all", r".*answers a SYN.*\n"),
    "answers to this host's own requests": ("egress_all", r".*ct direction reply return.*\n"),
    "requests of this host": ("egress_all", r".*opened by this host.*\n"),
    "exempt cgroups": ("ingress_cgroup", r".*@ingress_0_outside_3 return.*\n"),
    "IPv6 kept from later entries": ("ingress_reject6", r".*tcp dport 8080 accept.*\n"),
}


@pytest.mark.parametrize(("name", "backend"), CASES)
def test_packets_go_where_the_plan_says(name: str, backend: str) -> None:
    assert list(wrong_flows(name, backend, rules(name, backend))) == []


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_rule_that_is_taken_out_is_missed_by_some_packet(clause: str) -> None:
    """The flows prove each rule only if they fail without it."""
    name, pattern = CLAUSES[clause]
    instead = "" if pattern.endswith(r".*\n") else " return"
    mutilated, count = re.subn(pattern, instead, rules(name, "nft"))
    assert count
    # What arrives too late on a busy machine counts as refused, which may be what is expected: it is tried again.
    for _ in range(3):
        with closing(wrong_flows(name, "nft", mutilated)) as wrong:
            if next(wrong, None) is not None:
                return
    raise AssertionError("no packet misses it")


def test_the_table_of_flows_is_long_and_names_each_once() -> None:
    titles = [flow.title for flow in FLOWS] + [case.title for case in OLDER]
    assert len(FLOWS) >= 60
    assert len(set(titles)) == len(titles)
    assert {flow.config for flow in FLOWS} == set(CONFIGS)
