"""What goes wrong around a run under load, as packets: nothing in plaintext on the cable, and it recovers by itself."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runtime import tracking
from runtime.test_control import said
from runtime.test_processes import PATIENCE, children, until
from runtime.test_scenario import MARKER, Senders, assert_no_plaintext
from tng_demo import tunnel
from tng_demo.lab import INTERFACE, Host
from tng_demo.process import Process
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns


def link(host: Host, *words: str) -> None:
    host.run("ip", "link", "set", INTERFACE, *words)


def speak(scene: Scene) -> None:
    """Say something in a new connection, and insist on an answer."""
    with scene.client.inside(), socket.create_connection((scene.server.ipv4, 8080), timeout=2) as sock:
        sock.sendall(MARKER)
        if not sock.recv(1):
            raise ConnectionError("it was closed")


def answers(scene: Scene, url: str) -> bool:
    return scene.curl(url).stdout == PAGE


def test_link_down_and_up(scene: Scene) -> None:
    """Connections of before, of during and of after; IPv6 loses its addresses with the link, and gets them back."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    tunnel.serve(scene.client, CLIENT_CONFIG)
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
        senders.wait_for_writes(200)
        link(scene.client, "down")
        with pytest.raises(OSError, match=r"reset|refused|timed out|unreachable|closed"):
            speak(scene)
        link(scene.client, "up")
        scene.client.run("ip", "addr", "replace", f"{scene.client.ipv6}/64", "dev", INTERFACE, "nodad")
        until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
        senders.wait_for_writes(senders.writes + 100)
        until(lambda: answers(scene, scene.urls()["IPv6"]), "it recovers, IPv6 too")
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())


@pytest.mark.parametrize("whose", ["client", "server"])
def test_another_address(scene: Scene, whose: str) -> None:
    """The rules know ports, not addresses of this host: what leaves from the new one, or comes to it, is captured."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    tunnel.serve(scene.client, CLIENT_CONFIG)
    host = scene.lab[whose]
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4, patience=3) as senders:
        senders.wait_for_writes(200)
        host.run("ip", "addr", "add", "10.77.0.99/24", "dev", INTERFACE)
        host.run("ip", "addr", "del", f"{host.ipv4}/24", "dev", INTERFACE)
        # The last primary address took the others along (promote_secondaries).
        host.run("ip", "addr", "replace", "10.77.0.99/24", "dev", INTERFACE)
        target = scene.server.ipv4 if whose == "client" else "10.77.0.99"
        until(lambda: answers(scene, f"http://{target}:8080/"), "it recovers")
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())


def test_a_worker_without_descriptors_takes_no_more_and_goes_on_when_it_has_some(scene: Scene) -> None:
    tunnel.serve(scene.server, SERVER_CONFIG)
    run = scene.client.start(tunnel.TNG, "apply", str(CLIENT_CONFIG), "--", "--workers", "1")
    run.wait_for(r"\bevent=serving\b", PATIENCE)
    with scene.wire() as wire:
        with few_descriptors(run), scene.client.inside():
            waiting = []
            try:
                end = time.monotonic() + PATIENCE
                while "event=accept_failed" not in run.output() and "NET-LIMIT" not in run.output():
                    assert time.monotonic() < end
                    sock = socket.create_connection((scene.server.ipv4, 8080), timeout=PATIENCE)
                    waiting.append(sock)
                    sock.sendall(MARKER)
            finally:
                for sock in waiting:
                    sock.close()
        until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
    assert run.alive()


def test_connection_tracking_that_is_full_and_has_room_again(scene: Scene) -> None:
    """At the ingress, where each connection needs two entries: what is new is not let through, and nothing leaves."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    run = tunnel.serve(scene.client, CLIENT_CONFIG)
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4, patience=3) as senders:
        senders.wait_for_writes(200)
        with tracking.full(scene.client), pytest.raises(OSError, match=r"timed out|reset|closed"):
            speak(scene)
        until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
        senders.wait_for_writes(senders.writes + 100)
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
    assert "_died" not in run.output()


def test_a_worker_that_the_kernel_kills_for_memory_is_replaced(scene: Scene) -> None:
    """With connections that go on at the other one; the rules refuse in between."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    run = tunnel.run(scene.client, CLIENT_CONFIG, scene.client.state / "compiled", "--workers", "2")
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
        senders.wait_for_writes(200)
        with no_memory(children(run, "worker")[0]):
            run.wait_for("event=worker_died .*SIGKILL", PATIENCE)
        run.wait_for("event=worker_replaced", PATIENCE)
        senders.wait_for_writes(senders.writes + 100)
    assert_no_plaintext(wire, MARKER[:24])
    assert answers(scene, scene.urls()["IPv4"])
    assert run.stop() == 0, run.output()


@contextmanager
def no_memory(pid: int) -> Iterator[None]:
    """The next page that process ``pid`` wants is one too many (memory.max of cgroups, v1 or v2)."""
    first = Path("/sys/fs/cgroup/memory").is_dir()
    root = Path("/sys/fs/cgroup/memory") if first else Path("/sys/fs/cgroup")
    group = root / f"tng-test-memory-{os.getpid()}"
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text("8192")
        (group / "cgroup.procs").write_text(str(pid))
        yield
    finally:
        until(lambda: not (group / "cgroup.procs").read_text(), "it was not killed")
        group.rmdir()


def test_a_log_on_a_disk_that_is_full_stops_nobody(scene: Scene) -> None:
    """Lines are lost and counted; when there is room again they come again."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    made = tunnel.compile_into(CLIENT_CONFIG, scene.client.state / "compiled")
    disk = scene.client.state / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=64k none "$0" && head -c 1M /dev/zero >"$0/filler"; exec "$@" >>"$0/log" 2>&1'
    argv = [f"{tunnel.TNG}-runtime", "run", "--workers", "1", str(made)]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(scene.client.state / "notify"))
        manager.settimeout(PATIENCE)
        environment = {"NOTIFY_SOCKET": str(scene.client.state / "notify")}
        run = scene.client.start("sh", "-c", script, str(disk), *argv, env=environment)
        assert manager.recv(200).startswith(b"READY=1")
    there = Path(f"/proc/{run.pid}/root{disk}")
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
        senders.wait_for_writes(200)
        assert (there / "log").read_text() == ""
        until(lambda: answers(scene, scene.urls()["IPv4"]) and said(run.pid)["log_lines_dropped"] > 0, "a line is lost")
        (there / "filler").unlink()
        until(lambda: answers(scene, scene.urls()["IPv4"]) and "lines_dropped" in (there / "log").read_text(), "told")
    assert_no_plaintext(wire, MARKER[:24], PAGE.encode())
    assert run.stop() == 0


@contextmanager
def few_descriptors(run: Process) -> Iterator[None]:
    """The only worker of ``run`` may open two more than it has."""
    (pid,) = children(run, "worker")
    highest = max(map(int, os.listdir(f"/proc/{pid}/fd")))
    before = limit_of(pid)
    set_limit(pid, highest + 3)
    try:
        yield
    finally:
        set_limit(pid, before)


def limit_of(pid: int) -> int:
    """The soft limit of open files (proc_pid_limits(5))."""
    found = re.search(r"^Max open files +(\d+)", Path(f"/proc/{pid}/limits").read_text(encoding="ascii"), re.MULTILINE)
    assert found
    return int(found[1])


def set_limit(pid: int, files: int) -> None:
    """As the worker's own user: another one needs CAP_SYS_RESOURCE for that (prlimit(2))."""
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    subprocess.run([*user, "prlimit", f"--pid={pid}", f"--nofile={files}:"], check=True, timeout=PATIENCE)
