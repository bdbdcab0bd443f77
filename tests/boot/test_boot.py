"""A host that boots with our units is closed before its network and whenever it is not served."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from functools import partial

import pytest

from boot.machine import ROOT, Machine, booted, install
from runtime.processes import until
from runtime.test_takeover import Clients
from runtime.tunnels import CAPTURE, NO_RA, PORT, Tunnel, ends, tables
from tng_demo.lab import Host

# Units with PrivateTmp and ProtectHome, and a systemd that begins, see others than those that hold the checkout.
HIDDEN = any(ROOT.is_relative_to(each) for each in ("/tmp", "/var/tmp", "/root", "/home"))
pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(300),
    pytest.mark.skipif(HIDDEN, reason="NOT TESTED: units do not see a checkout below /tmp, /root or /home"),
]

UNIT, GUARD = "tng@web.service", "tng-guard@web.service"
SCRIPTS = ROOT / "package/debian"
TABLES = {"table inet tng_web", "table inet tng_web_guard"}
DOCUMENT = {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]}
MORE = {"netfilter": {"capture_dst": [{"port": PORT}, {"port": PORT + 1}]}}

# What brings a network up, and is the first to use it: nothing that is captured may get out.
NETWORK = """[Unit]
DefaultDependencies=no
After=network-pre.target
Before=network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=ip link set eth0 up
ExecStart=bash -c 'for try in 1 2 3; do if exec 3<>/dev/tcp/{address}/{port}; then exit 1; fi; done'
"""

__all__ = ["ends"]


@pytest.fixture
def machine(ends: Tunnel) -> Iterator[Machine]:
    client = ends.lab["client"]
    enabled = {UNIT: "boot.target", GUARD: "sysinit.target", "network.service": "network-online.target"}
    units = {"network.service": NETWORK.format(address=ends.lab["server"].ipv4, port=PORT)}
    install(client, units, {"tng/web.json": json.dumps(DOCUMENT)}, enabled)
    client.run("ip", "link", "set", "eth0", "down")
    with booted(client) as running:
        yield running


def main_pid(machine: Machine) -> str:
    return machine.shown(UNIT, "MainPID")


def serves(machine: Machine) -> bool:
    return machine.shown(UNIT, "ActiveState") == "active"


def works(ends: Tunnel) -> bool:
    near, far = ends.connect()
    with near, far:
        far.sendall(b"answer")
        return near.recv(100) == b"answer"


def test_a_host_is_closed_before_its_network_and_whenever_it_is_not_served(ends: Tunnel, machine: Machine) -> None:
    """In one boot, since a boot takes seconds."""
    client, server = ends.lab["client"], ends.lab["server"]
    assert machine.shown("network.service", "Result") == "success"
    assert int(machine.shown(GUARD, "ExecMainExitTimestampMonotonic")) < int(
        machine.shown("network.service", "ExecMainStartTimestampMonotonic")
    )
    ends.listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        ends.listener.accept()
    ends.listener.settimeout(30)
    assert serves(machine)
    assert tables(client) == TABLES
    ends.start("server")
    assert works(ends)

    assert "web" in machine.inside("tng", "status", "--instance", "web").stdout
    assert re.search(r"prob(ed|e_skipped) destination=192[.]0[.]2[.]1:8080", log(machine)), (
        "a flow of its own was tried"
    )

    machine.systemctl("stop", UNIT)
    assert "table inet tng_web" in tables(client)
    assert_refused(client, server.ipv4)
    machine.systemctl("start", UNIT)
    assert works(ends)
    status = machine.inside("cat", f"/proc/{main_pid(machine)}/status").stdout
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status

    # What the package's scripts do when it is removed, and purged.
    machine.inside("sh", f"{SCRIPTS}/prerm", "remove")
    assert not serves(machine)
    assert machine.inside("sh", "-c", "ls /etc/systemd/system/*.wants").stdout.count("tng") == 0
    assert_refused(client, server.ipv4)
    machine.inside("sh", f"{SCRIPTS}/postrm", "purge")
    assert tables(client) == set()


def assert_refused(client: Host, address: str) -> None:
    with client.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, PORT), timeout=30)


def test_reloads_under_load_lose_nothing_and_what_dies_comes_back(ends: Tunnel, machine: Machine) -> None:
    ends.start("server")
    with Clients(ends) as clients:
        clients.some_more()
        # The last is what the package's script does when it is upgraded.
        for command in (("systemctl", "reload", UNIT), ("sh", f"{SCRIPTS}/postinst", "configure")):
            before = main_pid(machine)
            machine.inside(*command)
            assert main_pid(machine) != before
            assert serves(machine)
            clients.some_more()
        rolls_back(machine, clients)
        machine.inside("sh", "-c", "echo '{' >/etc/tng/web.json")
        assert machine.systemctl("reload", UNIT, check=False).returncode != 0
        assert serves(machine)
        clients.some_more()
        assert clients.problems == []
    machine.inside("sh", "-c", f"echo '{json.dumps(DOCUMENT)}' >/etc/tng/web.json")

    directory = "/etc/systemd/system/tng@.service.d"
    impatient = f"mkdir {directory} && printf '[Service]\\nWatchdogSec=4\\n' >{directory}/watchdog.conf"
    machine.inside("sh", "-c", impatient)
    machine.systemctl("daemon-reload")
    for number in ("KILL", "STOP"):
        before = main_pid(machine)
        machine.inside("kill", f"-{number}", before)
        until(partial(is_back, machine, before), f"after SIG{number} it does not come back")
        assert works(ends)


def log(machine: Machine) -> str:
    return machine.inside("journalctl", "--no-pager", "--output=cat", "--unit", UNIT).stdout


def rolls_back(machine: Machine, clients: Clients) -> None:
    """Another document, then `tng rollback`: the one of before runs in the unit, and is the one that it reads."""
    path = "/etc/tng/web.json"
    before, another = json.dumps(DOCUMENT), json.dumps({"add_ingress": [{**DOCUMENT["add_ingress"][0], **MORE}]})
    machine.inside("sh", "-c", f"echo '{another}' >{path}")
    machine.systemctl("reload", UNIT)
    assert machine.inside("tng", "rollback", "--list", "--instance", "web").stdout.count(f" {path}\n") == 2
    clients.some_more()
    was = main_pid(machine)
    machine.inside("chmod", "777", "/var/lib/tng/web/compiled")
    done = machine.inside("tng", "rollback", "--instance", "web", check=False)
    assert done.returncode == 3, "what others can write to is not executed"
    assert "its own is as it was" in done.stderr
    assert machine.inside("cat", path).stdout == f"{another}\n"
    assert main_pid(machine) == was
    machine.inside("chmod", "700", "/var/lib/tng/web/compiled")
    said = machine.inside("tng", "rollback", "--instance", "web").stdout
    assert re.fullmatch(rf"{UNIT} runs the document of \S+ again, and {path} holds it\n", said)
    assert machine.inside("cat", path).stdout == before
    assert main_pid(machine) != was
    assert serves(machine)
    clients.some_more()
    assert machine.inside("tng", "rollback", "--instance", "web", check=False).returncode == 3, "there is none before"


def is_back(machine: Machine, instead_of: str) -> bool:
    return main_pid(machine) not in (instead_of, "0") and serves(machine)
