"""A captured cgroup that is removed and made again, with rules alone: it is refused, and nothing of it is on the wire.

The rules are loaded as the runtime loads them, and then nobody refreshes anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from packets import run
from packets.cgroups import cgroups, remake, socket_in
from packets.make import config, entry
from packets.wire import FAMILIES, Responder, client, ends, held, outcome
from tng_compiler.emit import nft
from tng_compiler.model.types import Config
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import Plan
from tng_demo.capture import Capture, Segment
from tng_demo.lab import Lab, lab

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

TREE = f"tng-anew-{os.getpid()}"
APP, OTHER, NEW, SHALLOW = f"{TREE}/app", f"{TREE}/other", f"{TREE}/new", f"{TREE}-shallow"
INGRESS = config(entry("ingress", 0, [{"port": 8080}], cgroup=[APP]), entry("ingress", 1, [{"port": 8443}]))
BEHIND = config(entry("ingress", 0, [{"port": 8080}], cgroup=[APP]), entry("ingress", 1, [{"port": 8080}]))
EGRESS = config(entry("egress", 0, [{"port": 8080}, {"port": 8443}], cgroup=[APP]))
PEER = {"ipv4": "10.77.0.2", "ipv6": "fd77::2"}
HOST = {"ipv4": "10.77.0.1", "ipv6": "fd77::1"}


def plan_of(document: Config) -> Plan:
    plan, found = build_plan(document, "0" * 64)
    assert not any(item.severity.value == "error" for item in found)
    return plan


@contextlib.contextmanager
def world(plan: Plan, services: dict[int, str] | None = None) -> Iterator[tuple[Lab, Responder]]:
    """Services on the peer, or on the host in a cgroup by port, and the plan's listeners on the host."""
    with cgroups(APP, OTHER, SHALLOW), lab("host", "peer") as hosts, Responder() as responder:
        for family in FAMILIES:
            for port in (8080, 8443, 9000):
                responder.listen(hosts["peer"], family, port, proxy=False)
            for port, group in (services or {}).items():
                sock = socket_in(hosts["host"], group, FAMILIES[family])
                responder.listen(hosts["host"], family, port, sock, proxy=False)
            for one in plan.entries:
                responder.listen(hosts["host"], family, one.listen_port, proxy=True, mark=one.so_mark)
        yield hosts, responder


def sent(hosts: Lab, group: str, port: int, family: str = "ipv4") -> str:
    """What becomes of a new connection from a cgroup on the host to the peer."""
    return outcome(socket_in(hosts["host"], group, FAMILIES[family]), PEER[family], port)


def opened(segments: list[Segment], port: int) -> list[Segment]:
    return [segment for segment in segments if segment.destination_port == port]


def test_a_captured_cgroup_made_anew_is_reset_and_never_on_the_wire(tmp_path: Path) -> None:
    plan = plan_of(INGRESS)
    with world(plan) as (hosts, _):
        run.load(hosts["host"], plan, "nft", nft.render(plan))
        capture = Capture(hosts["host"], hosts["peer"], tmp_path / "wire.pcap")
        for family in FAMILIES:
            assert sent(hosts, APP, 8080, family).startswith("captured 15001")
        remake(APP)
        for family in FAMILIES:
            assert sent(hosts, APP, 8080, family) == "reset"
        assert sent(hosts, APP, 9000) == "passed 9000", "where nothing is captured, nothing is refused"
        assert sent(hosts, APP, 8443).startswith("captured 15002"), "an entry without cgroups takes everybody"
        segments = capture.stop()
    assert opened(segments, 8080) == []
    assert opened(segments, 9000), "the capture has seen what passed"


def test_a_parent_made_anew_is_like_the_cgroup_itself(tmp_path: Path) -> None:
    plan = plan_of(INGRESS)
    with world(plan) as (hosts, _):
        run.load(hosts["host"], plan, "nft", nft.render(plan))
        capture = Capture(hosts["host"], hosts["peer"], tmp_path / "wire.pcap")
        remake(TREE, OTHER, APP)
        assert [sent(hosts, APP, port) for port in (8080, 9000)] == ["reset", "passed 9000"]
        assert opened(capture.stop(), 8080) == []


def test_an_unrelated_new_cgroup_reaches_everything_that_is_not_captured() -> None:
    """Captured destinations too, as soon as it is known: it is not the captured one."""
    plan = plan_of(INGRESS)
    with world(plan) as (hosts, _):
        run.load(hosts["host"], plan, "nft", nft.render(plan))
        with cgroups(NEW):
            assert [sent(hosts, NEW, port) for port in (9000, 8080)] == ["passed 9000", "reset"]
            assert sent(hosts, OTHER, 8080) == "passed 8080", "known since the load"
            assert sent(hosts, SHALLOW, 8080) == "passed 8080", "not deep enough to be inside"
            assert outcome(client(hosts["host"], "ipv4"), PEER["ipv4"], 8080) == "passed 8080"
            run.load(hosts["host"], plan, "nft", nft.render(plan))
            assert sent(hosts, NEW, 8080) == "passed 8080"


def test_rules_without_the_runtime_refuse_every_cgroup_of_that_depth() -> None:
    """Also to who sends on a connection that is older than they are, in either direction."""
    plan = plan_of(INGRESS)
    with world(plan) as (hosts, responder):
        near = socket_in(hosts["host"], OTHER, socket.AF_INET)
        with held(responder, near, PEER["ipv4"], 8080) as (older, far):
            run.tool(hosts["host"], nft.render(plan), "nft", "-f", "-")
            far.connection.send(b"the service speaks first")
            assert ends(older)
        assert [sent(hosts, group, 8080) for group in (OTHER, SHALLOW)] == ["reset", "passed 8080"]
        assert sent(hosts, OTHER, 9000) == "passed 9000"


def test_a_service_made_anew_is_not_reached_in_plaintext() -> None:
    """On an egress the cgroup is that of the listening socket."""
    plan = plan_of(EGRESS)
    with world(plan, {8080: OTHER, 9000: OTHER}) as (hosts, responder):
        run.load(hosts["host"], plan, "nft", nft.render(plan))
        remake(APP)
        for family in FAMILIES:
            sock = socket_in(hosts["host"], APP, FAMILIES[family])
            responder.listen(hosts["host"], family, 8443, sock, proxy=False)
            arriving = {port: outcome(client(hosts["peer"], family), HOST[family], port) for port in (8080, 8443, 9000)}
            assert arriving == {8080: "passed 8080", 8443: "reset", 9000: "passed 9000"}


def test_an_entry_behind_does_not_take_what_may_belong_to_the_one_before() -> None:
    """Whose trust a connection is given is not a matter of when its cgroup was made."""
    plan = plan_of(BEHIND)
    with world(plan) as (hosts, _):
        run.load(hosts["host"], plan, "nft", nft.render(plan))
        remake(APP)
        assert sent(hosts, APP, 8080) == "reset"
        assert sent(hosts, OTHER, 8080).startswith("captured 15002")


CLAUSES = {
    "requests": (INGRESS, r".*!= @known_cgroups_2 goto ingress_0_guard_to.*\n", "passed 8080"),
    "the redirect": (BEHIND, r".*!= @known_cgroups_2 goto ingress_0_unknown.*\n", "captured 15002 10.77.0.2:8080"),
}


@pytest.mark.parametrize("clause", CLAUSES)
def test_a_rule_that_is_taken_out_is_missed_by_some_packet(clause: str) -> None:
    document, pattern, expected = CLAUSES[clause]
    plan = plan_of(document)
    mutilated, count = re.subn(pattern, "", nft.render(plan))
    assert count == 1
    with world(plan) as (hosts, _):
        run.load(hosts["host"], plan, "nft", mutilated)
        remake(APP)
        assert sent(hosts, APP, 8080) == expected
