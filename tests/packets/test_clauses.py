"""Each clause that an attack or a passer-by needs, taken out: the test that proves it must fail then.

The attack is run as it stands, by a pytest of its own, which is told the rule to leave out. Clauses that plain flows
miss are in test_flows.py.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from packets import run
from packets.attack import WITHOUT
from packets.wire import client, held
from tng_compiler.emit import nft

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

HERE = Path(__file__).parent
CLAUSES = {
    "a stranger on a listen port": (
        "test_local_users.py::test_105_who_binds_the_listen_port_of_an_egress_gets_nothing[ipv4]",
        r".*counter name squatted_listener.*\n",
    ),
    "loopback that comes from the wire": (
        "test_neighbours.py::test_103_frames_for_loopback_are_not_captured[ipv4-route_localnet-nft]",
        r".*iif != \"lo\".*\n",
    ),
    "loopback that goes to the wire": (
        "test_neighbours.py::test_104_nothing_for_loopback_leaves_by_a_device[ipv4-captured-nft]",
        r".*oif != \"lo\".*\n",
    ),
    "a zone for our own connections": (
        "test_collisions.py::test_an_application_is_captured_from_a_port_of_our_dial[ipv4-reset-nft]",
        r".*zone set.*\n",
    ),
    "resets are forgotten": (
        "test_collisions.py::test_a_port_that_was_another_cgroups_meets_its_own_entry[ipv4-reset]",
        r"ct timeout set \"forgotten_resets\" ",
    ),
    "answers must be earned": (
        "test_neighbours.py::test_102_a_spoofed_syn_does_not_release_an_older_connection[ipv4-syn-nft]",
        r"(?<=ct direction reply) ct status assured",
    ),
    "who comes in is answered": (
        "test_neighbours.py::test_102_who_comes_in_from_a_captured_network_is_served[ipv4-client-nft]",
        r".*answers who came in.*\n",
    ),
    "what is forwarded": (
        "test_passing_by.py::test_109_what_is_forwarded_to_a_captured_destination_is_refused[ipv4-by_port-routed-nft]",
        r"(?<=publishes\"\n)\t\tjump ingress_0_guard.*\n",
    ),
    "ports that this host publishes": (
        "test_passing_by.py::test_109_the_published_port_of_a_container_is_served[ipv4-everything-nft]",
        r".*came for a port that this host publishes.*\n",
    ),
    "ports that lead to others": (
        "test_passing_by.py::test_a_port_that_leads_to_a_captured_destination_elsewhere_is_refused[ipv4-everything]",
        r"(?<=ct label 116) meta oifkind .* oiftype ether(?= return)",
    ),
    "ports that others lead to our listener": (
        "test_containers.py::test_neighbours_are_no_containers[named]",
        r".*was not forwarded, but translated.*\n",
    ),
    "an interface that leads to the destination": (
        "test_containers.py::test_neighbours_are_no_containers[by_kind]",
        r" fib daddr \. iif oif missing",
    ),
    "UDP": (
        "test_passing_by.py::test_110_udp_to_a_captured_destination_is_refused[ipv4-by_port-nft]",
        r"\t\tudp dport.*\n",
    ),
    "what goes to several at once": (
        "test_passing_by.py::test_multicast_and_broadcast_leave[nft]",
        r".*goes to several at once.*\n",
    ),
    "a service in TIME_WAIT": (
        "test_differences.py::test_time_wait_of_a_captured_cgroup_lets_nobody_in[ipv4]",
        r"(?<=ct label 117 return comment \"/add_egress/0\"\n)\t\tgoto.*\n",
    ),
    "handshakes that were judged": (
        "test_differences.py::test_an_exempt_service_of_an_egress_is_reached[ipv4]",
        r".*ct label 117 return.*\n",
    ),
    "listeners are not captured": (
        "test_differences.py::test_a_listen_port_is_refused_by_an_egress_of_every_port[ipv4-from_outside-nft]",
        r".*the guard answers who dials a listener.*\n",
    ),
}


@pytest.mark.parametrize("clause", CLAUSES)
def test_an_attack_succeeds_without_its_clause(clause: str) -> None:
    test, pattern = CLAUSES[clause]
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
        "--require-netns",
        str(HERE / test),
    ]
    done = subprocess.run(argv, env=os.environ | {WITHOUT: pattern}, capture_output=True, text=True, check=False)
    assert "1 failed" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("complete", [True, False])
def test_the_far_end_learns_that_an_older_connection_has_ended(complete: bool) -> None:
    """A reset passes the guard, and without that clause the far end waits for ever."""
    plan = run.plan_of("ingress_port")
    text = nft.render(plan)
    if not complete:
        text = "".join(line for line in text.splitlines(keepends=True) if "ends a connection" not in line)
    with run.world("ingress_port") as (hosts, responder):
        near = client(hosts["host"], "ipv4")
        with held(responder, near, "10.77.0.2", 8080) as (older, far):
            run.load(hosts["host"], plan, "nft", text)
            older.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            older.close()
            assert responder.breaks(far) == complete
