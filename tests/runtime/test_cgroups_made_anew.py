"""A captured unit that restarts while the program runs: captured again at once, and never in plaintext between.

The unit is a process that joins its cgroup and connects without a pause; what leaves its host beside the tunnel's own
sockets is counted after all other rules, and the wire is read.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from packets.cgroups import cgroups, remake, with_cgroups
from runtime.servers import answering
from runtime.tunnels import compiled
from tng_demo.capture import Capture
from tng_demo.lab import Lab
from tng_demo.process import Process

pytestmark = [pytest.mark.netns, pytest.mark.timeout(90)]

RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")
TREE = f"tng-follow-{os.getpid()}"
UNIT, EXEMPT, NEIGHBOUR = f"{TREE}/web\\x2d1@a:b.service", f"{TREE}/exempt.service", f"{TREE}/neighbour"
# Both captured, and only the first has a tunnel at the other end; then one that is not captured.
PORT, PLAIN_PORT, OTHER_PORT = 8080, 8081, 9000
RESTARTS = 8
MARKER = b"of-the-unit-in-plaintext"
SOON = 1.0

# What leaves this host and is not the tunnel's, whatever the table of the program thinks of it. A reset is nothing:
# the kernel answers with one, without any socket's mark, what comes for a dialled socket that is gone.
WITNESS = """table inet witness { chain leaving { type filter hook postrouting priority 300;
  oifname "eth0" tcp dport { 8080, 8081 } tcp flags & rst != rst meta mark != 565 counter; }; }"""

# Joins the cgroup and connects on and on, from the very first moment; says what came of each connection.
CLIENT = f"""
import socket, sys
with open("/sys/fs/cgroup/" + sys.argv[1] + "/cgroup.procs", "w") as procs:
    procs.write("0")
while True:
    try:
        with socket.create_connection((sys.argv[2], int(sys.argv[3])), timeout=5) as sock:
            sock.sendall({MARKER!r})
            said = sock.recv(100)
    except OSError as error:
        said = type(error).__name__.encode()
    print("said", said.decode() or "nothing", flush=True)
"""


@dataclass
class Site:
    lab: Lab
    runtime: Process

    def unit(self, cgroup: str, port: int = PORT) -> Process:
        client, server = self.lab["client"], self.lab["server"]
        return client.start(*with_cgroups([sys.executable, "-c", CLIENT, cgroup, server.ipv4, str(port)]))

    def leaked(self) -> int:
        listed = self.lab["client"].run("nft", "list", "table", "inet", "witness").stdout
        found = re.search(r"counter packets (\d+)", listed)
        assert found
        return int(found[1])


@pytest.fixture
def site(hosts: Lab) -> Iterator[Site]:
    def told(_: bytes, source: str) -> bytes:
        """To each client whether it came through the tunnel: those are local to the server."""
        return b"captured" if source == hosts["server"].ipv4 else b"plaintext"

    with cgroups(UNIT, EXEMPT), contextlib.ExitStack() as stack:
        for port in (PORT, PLAIN_PORT, OTHER_PORT):
            stack.enter_context(answering(hosts["server"], port, told))
        netfilter = {
            "capture_dst": {"port": PORT, "port_end": PLAIN_PORT},
            "capture_cgroup": [UNIT],
            "nocapture_cgroup": [EXEMPT],
        }
        server = compiled(
            hosts["server"], {"add_egress": [{"netfilter": {"capture_dst": {"port": PORT}}, "no_ra": True}]}
        )
        client = compiled(hosts["client"], {"add_ingress": [{"netfilter": netfilter, "no_ra": True}]})
        hosts["server"].start(RUNTIME, "run", str(server)).wait_for(r"\bevent=serving\b")
        hosts["client"].run("nft", "-f", "-", stdin=WITNESS)
        runtime = hosts["client"].start(*with_cgroups([RUNTIME, "run", str(client)]))
        runtime.wait_for(r"\bevent=serving\b")
        yield Site(hosts, runtime)
        for process in reversed(hosts["client"].processes):
            process.kill()


def test_a_restarted_unit_is_captured_again_and_sends_nothing_in_plaintext(site: Site, tmp_path: Path) -> None:
    capture = Capture(site.lab["client"], site.lab["server"], tmp_path / "wire.pcap")
    unit = site.unit(UNIT)
    unit.wait_for("said captured")
    took = []
    for _ in range(RESTARTS):
        unit.kill()
        remake(UNIT)
        unit = site.unit(UNIT)
        unit.wait_for("said ")
        began = time.monotonic()
        unit.wait_for("said captured")
        took.append(time.monotonic() - began)
        assert "said plaintext" not in unit.output()
    # Of the moments in which others are busy the better half counts.
    assert sorted(took)[RESTARTS // 2] < SOON, took
    assert site.leaked() == 0
    assert not any(MARKER in segment.payload for segment in capture.stop())
    assert site.runtime.output().count("event=cgroup_back") == RESTARTS


def test_a_unit_that_is_gone_for_a_while_is_said_and_captured_when_it_is_back(site: Site) -> None:
    _in_cgroups("rmdir", UNIT)
    site.runtime.wait_for("event=cgroup_gone")
    _in_cgroups("mkdir", UNIT)
    site.runtime.wait_for("event=cgroup_back")
    site.unit(UNIT).wait_for("said captured")
    assert site.leaked() == 0


def test_a_parent_that_is_made_anew_is_followed(site: Site) -> None:
    remake(TREE, UNIT, EXEMPT)
    site.unit(UNIT).wait_for("said captured")
    assert site.leaked() == 0


def test_an_exempt_unit_that_restarts_is_exempt_again(site: Site) -> None:
    remake(EXEMPT)
    site.unit(EXEMPT, PLAIN_PORT).wait_for("said plaintext")


def test_an_unrelated_new_cgroup_reaches_other_destinations_at_once_and_captured_ones_soon(site: Site) -> None:
    with cgroups(NEIGHBOUR):
        elsewhere = site.unit(NEIGHBOUR, OTHER_PORT)
        elsewhere.wait_for("said ")
        assert "said plaintext" in elsewhere.output()
        assert "Error" not in elsewhere.output()
        neighbour = site.unit(NEIGHBOUR, PLAIN_PORT)
        neighbour.wait_for("said plaintext")
        for process in (elsewhere, neighbour):
            process.kill()


def test_rules_that_outlive_the_program_refuse_a_restarted_unit(site: Site) -> None:
    site.runtime.kill()
    remake(UNIT)
    site.unit(UNIT).wait_for("said ConnectionRefusedError")
    assert site.leaked() == 0


def test_a_unit_that_restarts_while_somebody_flushes_the_rules_is_captured_when_they_are_back(site: Site) -> None:
    """The sets of both tables are filled again, whichever came first."""
    for _ in range(RESTARTS):
        said = len(site.runtime.output())
        site.lab["client"].run("nft", "flush", "chain", "inet", "tng", "capture_output")
        site.lab["client"].run("nft", "delete", "table", "inet", "tng")
        remake(UNIT)
        site.runtime.wait_for("event=rules_restored", after=said)
        unit = site.unit(UNIT)
        unit.wait_for("said captured")
        assert "said plaintext" not in unit.output()
        unit.kill()
    assert site.leaked() == 0


def test_the_owned_guard_knows_the_unit_that_was_made_anew(site: Site) -> None:
    """With the program stopped and its ruleset gone, the guard alone refuses the new unit, and it alone."""
    remake(UNIT)
    site.runtime.wait_for("event=cgroup_back")
    site.unit(UNIT).wait_for("said captured")
    site.runtime.popen.send_signal(signal.SIGSTOP)
    site.lab["client"].run("nft", "delete", "table", "inet", "tng")
    site.unit(UNIT).wait_for("said ConnectionRefusedError")
    site.unit(EXEMPT, PLAIN_PORT).wait_for("said plaintext")


def test_cgroups_that_come_and_go_in_numbers_do_no_harm(site: Site, tmp_path: Path) -> None:
    """The unit restarts among hundreds of others; some end between the look and the transaction."""
    noise = f"cd /sys/fs/cgroup/{TREE}; while :; do mkdir n1 n2 n3 n4; rmdir n1 n2 n3 n4; done"
    busy = site.lab["client"].start(*with_cgroups(["sh", "-c", noise]))
    unit = site.unit(UNIT)
    unit.wait_for("said captured")
    for _ in range(RESTARTS):
        unit.kill()
        remake(UNIT)
        unit = site.unit(UNIT)
        unit.wait_for("said captured")
        assert "said plaintext" not in unit.output()
    busy.kill()
    _in_cgroups("sh", "-c", 'rmdir "$0"/n? 2>/dev/null || :', TREE)
    assert site.leaked() == 0
    assert "level=error" not in site.runtime.output()


def _in_cgroups(*argv: str) -> None:
    *command, path = argv
    subprocess.run(with_cgroups([*command, f"/sys/fs/cgroup/{path}"]), check=True)
