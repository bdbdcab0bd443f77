"""How the rules of a run stand in the kernel: both tables, what differs rule by rule, and what they counted."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from runtime.tunnels import CAPTURE, NO_RA, PORT, compiled
from tng_demo.lab import Host, Lab
from tng_runtime.kernel import nftables
from tng_runtime.kernel.rules import Rules
from tng_runtime.manifest import load_bundle

pytestmark = pytest.mark.netns


@pytest.fixture
def host(hosts: Lab) -> Iterator[Host]:
    with hosts["client"].inside():
        yield hosts["client"]


@pytest.fixture
def rules(host: Host) -> Iterator[Rules]:
    made = Rules(load_bundle(compiled(host, {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})))
    made.install()
    yield made
    made.close()


def test_as_they_were_loaded_they_are_in_place(rules: Rules) -> None:
    state = rules.state()
    assert (state.table, state.guard, state.drift, state.changes) == (True, True, (), 0)


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        ("add rule inet tng ingress_0 tcp dport 1 accept", "chain ingress_0: 'tcp dport 1 accept' added"),
        ("add chain inet tng others", "chain others added"),
        ("flush chain inet tng capture_output", 'chain capture_output: \'oif "lo" return'),
    ],
)
def test_what_somebody_else_did_is_told_rule_by_rule(rules: Rules, host: Host, commands: str, says: str) -> None:
    host.run("nft", commands)
    state = rules.state()
    assert state.table
    assert any(line.startswith(says) for line in state.drift), state.drift
    rules.restore()
    assert rules.state().drift == ()


def test_a_table_that_is_gone_is_no_drift_but_missing(rules: Rules, host: Host) -> None:
    host.run("nft", "delete table inet tng")
    state = rules.state()
    assert (state.table, state.guard, state.counters["tng"]) == (False, True, {})


def test_figures_are_no_drift_and_are_those_of_the_kernel(rules: Rules, hosts: Lab, host: Host) -> None:
    """Nobody listens: what is captured is reset by the kernel, and counted before."""
    for _ in range(3):
        with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
            sock.connect((hosts["server"].ipv4, PORT))
    state = rules.state()
    assert state.drift == ()
    assert state.counters["tng"]["ingress_0_captured"] == 3
    listed = json.loads(host.run("nft", "-j", "list", "counters").stdout)["nftables"]
    there = {
        (each["counter"]["table"], each["counter"]["name"]): each["counter"]["packets"]
        for each in listed
        if "counter" in each
    }
    assert {(table, name): n for table, names in state.counters.items() for name, n in names.items()} == there


@pytest.mark.usefixtures("host")
def test_no_table_has_no_counters() -> None:
    assert nftables.counters("tng_other") == {}
