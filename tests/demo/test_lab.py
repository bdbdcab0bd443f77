"""The lab's promises: real networks, private hosts, and nothing left, however it ends."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tng_demo import lab as labs
from tng_demo.lab import Lab, LabError, lab

pytestmark = pytest.mark.netns

OWNER = """
import sys, signal
from tng_demo.lab import lab
with lab("a", "b") as built:
    started = built["a"].start("sleep", "1000")
    print(built.name, started.pid, flush=True)
    signal.pause()
"""


def namespaces(name: str) -> list[str]:
    return [path.name for path in Path("/run/netns").glob(f"tng-{name}-*")]


def test_two_hosts_reach_each_other_in_both_families(hosts: Lab) -> None:
    for address in (hosts["server"].ipv4, hosts["server"].ipv6):
        with hosts["server"].inside():
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            listener = socket.create_server((address, 8080), family=family)
        with listener:
            hosts["client"].wait_for_port(8080, address)


def test_three_hosts_share_one_wire() -> None:
    with lab("a", "b", "c") as built:
        with built["c"].inside():
            listener = socket.create_server((built["c"].ipv4, 8080))
        with listener:
            for name in ("a", "b", "c"):
                built[name].wait_for_port(8080, built["c"].ipv4)


def test_each_host_has_a_run_directory_of_its_own(hosts: Lab) -> None:
    hosts["client"].run("touch", "/run/mine")
    assert hosts["client"].run("ls", "/run").stdout == "mine\n"
    assert hosts["server"].run("ls", "/run").stdout == ""
    assert not Path("/run/mine").exists()


def test_nothing_stays_after_a_failure() -> None:
    with pytest.raises(RuntimeError, match="on purpose"), lab("a", "b") as built:  # noqa: PT012 - the state at the raise
        process = built["a"].start("sleep", "1000")
        raise RuntimeError("on purpose")
    assert not process.alive()
    assert namespaces(built.name) == []
    assert not (labs.STATE / built.name).exists()


def test_the_next_lab_removes_one_whose_owner_was_killed() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, text=True, env=env) as owner:
        assert owner.stdout is not None
        name, pid = owner.stdout.readline().split()
        assert len(namespaces(name)) == 2
        labs.sweep()
        assert len(namespaces(name)) == 2
        left_running = os.pidfd_open(int(pid))
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    with lab("a", "b"):
        assert namespaces(name) == []
        assert select.select([left_running], [], [], 10)[0], "a program of the dead lab still runs"
    os.close(left_running)


def test_a_kept_lab_stays_until_it_is_removed() -> None:
    name = f"kept-{os.getpid()}"
    try:
        with lab("a", "b", name=name) as built:
            process = built["a"].start("sh", "-c", "echo inside && exec sleep 1000")
            process.wait_for("inside")
            built.keep()
        labs.sweep()
        assert process.alive()
        assert len(namespaces(name)) == 2
        with pytest.raises(LabError, match="is there already"), lab("a", "b", name=name):
            pass
        assert process.alive()
    finally:
        labs.remove(name)
    assert process.wait(60) == -signal.SIGKILL
    assert namespaces(name) == []


def test_a_failing_program_raises_with_its_output(hosts: Lab) -> None:
    with pytest.raises(LabError, match=r"client: ls /nowhere: exit 2\n.*No such file"):
        hosts["client"].run("ls", "/nowhere")
    assert hosts["client"].run("ls", "/nowhere", check=False).returncode == 2
