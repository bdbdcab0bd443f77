"""What goes wrong around a run under load, as packets: nothing in plaintext on the cable, and it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from runtime import tracking
from runtime.footprint import bounded
from runtime.processes import children, until
from runtime.senders import MARKER, Senders, assert_no_plaintext
from runtime.test_clock import again, odd_requests
from runtime.test_control import said
from runtime.test_flushed import connected
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.lab import INTERFACE, Host, Lab
from tng_demo.process import PATIENCE, Process
from tng_demo.sample_service import SampleService
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns


def link(host: Host, *words: str) -> None:
    host.run("ip", "link", "set", INTERFACE, *words)


def senders_of(scene: Scene, count: int, target: str | None = None, patience: float = 40) -> Senders:
    """The load: none at rest, with a ``count`` of 0."""
    return Senders(scene.client, target or scene.server.ipv4, count=count, patience=patience)


def speak(scene: Scene) -> None:
    """Say something in a new connection, and insist on an answer."""
    with scene.client.inside(), socket.create_connection((scene.server.ipv4, 8080), timeout=2) as sock:
        sock.sendall(MARKER)
        if not sock.recv(1):
            raise ConnectionError("it was closed")


def answers(scene: Scene, url: str) -> bool:
    return scene.curl(url).stdout == PAGE


def ipv6(host: Host, on: bool) -> None:
    """Switch it on or off on all interfaces; on, the one that leads out has its address again."""
    with host.inside():
        Path("/proc/sys/net/ipv6/conf/all/disable_ipv6").write_text("01"[not on], encoding="ascii")
    if on:
        host.run("ip", "addr", "replace", f"{host.ipv6}/64", "dev", INTERFACE, "nodad")


def gateways(scene: Scene, *options: str) -> tuple[Process, Process]:
    """Those of both hosts: the egress, and the ingress with ``options``."""
    egress = tunnel.serve(scene.server, SERVER_CONFIG)
    return egress, tunnel.run(scene.client, CLIENT_CONFIG, scene.client.state / "compiled", *options)


def test_ipv6_comes_late_and_the_link_goes_down_and_up(scene: Scene) -> None:
    """IPv6 comes under load; the link goes at rest and under load, and takes the addresses of IPv6 along."""
    ipv6(scene.client, on=False)
    egress, ingress = gateways(scene)
    with scene.wire() as wire, connected(scene.client, scene.server.ipv4) as live:
        with senders_of(scene, 4) as senders:
            senders.wait_for_writes(200)
            ipv6(scene.client, on=True)
            until(lambda: answers(scene, scene.urls()["IPv6"]), "IPv6 is served")
        with bounded(egress, ingress):
            for load in (False, True):
                with senders_of(scene, 4 * load) as senders:
                    senders.wait_for_writes(200 * load)
                    link(scene.client, "down")
                    with pytest.raises(OSError, match=r"reset|refused|timed out|unreachable|closed"):
                        speak(scene)
                    link(scene.client, "up")
                    scene.client.run("ip", "addr", "replace", f"{scene.client.ipv6}/64", "dev", INTERFACE, "nodad")
                    until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
                    until(lambda: answers(scene, scene.urls()["IPv6"]), "it recovers, IPv6 too")
                    senders.wait_for_writes(senders.writes + 100 * load)
                again(live)
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())


@pytest.mark.parametrize("whose", ["client", "server"])
def test_another_address(scene: Scene, whose: str) -> None:
    """The rules know ports, not addresses of this host: what leaves from the new one, or comes to it, is captured."""
    gateways(scene)
    assert answers(scene, scene.urls()["IPv4"])
    address = scene.lab[whose].ipv4
    with scene.wire() as wire:
        for new, load in (("10.77.0.98", False), ("10.77.0.99", True)):
            target = scene.server.ipv4 if whose == "client" else address
            with senders_of(scene, 4 * load, target, patience=3) as senders:
                senders.wait_for_writes(200 * load)
                renumber(scene.lab[whose], address, new)
                target = scene.server.ipv4 if whose == "client" else new
                until(partial(answers, scene, f"http://{target}:8080/"), "it recovers")
            address = new
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())


def renumber(host: Host, old: str, new: str) -> None:
    host.run("ip", "addr", "add", f"{new}/24", "dev", INTERFACE)
    host.run("ip", "addr", "del", f"{old}/24", "dev", INTERFACE)
    # The last primary address took the others along (promote_secondaries).
    host.run("ip", "addr", "replace", f"{new}/24", "dev", INTERFACE)


def test_a_worker_without_descriptors_takes_no_more_and_goes_on_when_it_has_some(scene: Scene) -> None:
    egress, run = gateways(scene, "--workers", "1")
    assert answers(scene, scene.urls()["IPv4"])
    with bounded(egress, run), scene.wire() as wire:
        for load in (False, True):
            with senders_of(scene, 4 * load) as senders:
                senders.wait_for_writes(200 * load)
                wait_until_none_is_left(scene, run)
                until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
                senders.wait_for_writes(senders.writes + 100 * load)
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
    assert run.alive()


def wait_until_none_is_left(scene: Scene, run: Process) -> None:
    """Open connections until the worker of ``run`` has no descriptor for another one, and says so."""
    told, waiting = len(run.output()), list[socket.socket]()
    with few_descriptors(run), scene.client.inside():
        try:
            end = time.monotonic() + PATIENCE
            while not re.search("event=accept_failed|NET-LIMIT", run.output()[told:]):
                assert time.monotonic() < end
                waiting.append(socket.create_connection((scene.server.ipv4, 8080), timeout=PATIENCE))
                waiting[-1].sendall(MARKER)
                time.sleep(0.02)  # as many as are needed, not as many as fit into the kernel's queue until it is said
        finally:
            for sock in waiting:
                sock.close()


def test_agent_and_service_go_away_and_lie_under_load(hosts: Lab) -> None:
    """Every handshake needs both, so new connections are refused at once, and nothing of them reaches the server.

    Those that are open carry on.
    """
    with scenes.samples(hosts) as (service, agent):
        scene = scenes.served(hosts)
        attest = {"aa_addr": f"unix://{scenes.AGENT_SOCKET}", "refresh_interval": 0}
        document = {"add_egress": [{"netfilter": {"capture_dst": {"port": scenes.PORT}}, "attest": attest}]}
        egress = tunnel.serve(scene.server, tunnel.write_config(scene.server.state / "config.json", document))
        ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
        assert answers(scene, scene.urls()["IPv4"])
        with (
            bounded(egress, ingress),
            scene.wire() as wire,
            connected(scene.client, scene.server.ipv4) as live,
            senders_of(scene, 2) as senders,
        ):
            senders.wait_for_writes(200)
            faults: list[tuple[Process, str, Callable[[], object], Callable[[], object]]] = [
                (egress, "RA-AGENT-UNREACHABLE", agent.close, agent.start),
                (ingress, "RA-SERVICE-UNREACHABLE", service.close, partial(started_in, scene.client, service)),
                (ingress, "RA-TOKEN-TIME", partial(service.change, lifetime=-60), partial(service.change, lifetime=60)),
            ]
            for refused_by, code, fault, over in faults:
                told, before = len(refused_by.output()), odd_requests(scene)
                fault()
                with senders_of(scene, 2) as newcomers:
                    newcomers.wait_for_failures(4)
                refused_by.wait_for(f"code={code}", PATIENCE, after=told)
                assert odd_requests(scene) == before, "something came before the verdict"
                again(live)
                over()
                until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
            senders.wait_for_writes(senders.writes + 100)
        until(lambda: bool(odd_requests(scene)), "what is sent after a verdict would be seen")
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())


def started_in(host: Host, service: SampleService) -> None:
    with host.inside():
        service.start()


def test_connection_tracking_that_is_full_and_has_room_again(scene: Scene) -> None:
    """At the ingress, where each connection needs two entries: what is new is not let through, and nothing leaves.

    At rest first, then for programs that try again and again; what was open goes on.
    """
    egress, run = gateways(scene)
    assert answers(scene, scene.urls()["IPv4"])
    with (
        bounded(egress, run),
        scene.wire() as wire,
        connected(scene.client, scene.server.ipv4) as live,
        contextlib.ExitStack() as load,
    ):
        with tracking.full(scene.client):
            with pytest.raises(OSError, match=r"timed out|reset|closed"):
                speak(scene)
            senders = load.enter_context(Senders(scene.client, scene.server.ipv4, patience=1))
            senders.wait_for_failures(4)
            again(live)
        until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
        senders.wait_for_writes(100)
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
    assert "_died" not in run.output()


def test_a_worker_that_the_kernel_kills_for_memory_is_replaced(scene: Scene) -> None:
    """At rest, and with connections that go on at the other one; the rules refuse in between."""
    egress, run = gateways(scene, "--workers", "2")
    with bounded(egress, run), scene.wire() as wire:
        for load in (False, True):
            told = len(run.output())
            with senders_of(scene, 4 * load) as senders:
                senders.wait_for_writes(200 * load)
                with no_memory(children(run, "worker")[0]):
                    # At rest too it tells every second what it has counted.
                    run.wait_for("event=worker_died .*SIGKILL", PATIENCE, after=told)
                run.wait_for("event=worker_replaced", PATIENCE, after=told)
                senders.wait_for_writes(senders.writes + 100 * load)
                until(lambda: answers(scene, scene.urls()["IPv4"]), "it recovers")
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
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
    egress = tunnel.serve(scene.server, SERVER_CONFIG)
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
    lost = dropped(run)
    with bounded(egress, run), scene.wire() as wire:
        for load in (False, True):
            with senders_of(scene, 4 * load) as senders:
                senders.wait_for_writes(200 * load)
                until(partial(loses, scene, run, lost), "a line is lost")
                lost = dropped(run)
                assert (there / "log").read_text() == ""
        (there / "filler").unlink()
        until(lambda: answers(scene, scene.urls()["IPv4"]) and "lines_dropped" in (there / "log").read_text(), "told")
    assert_no_plaintext(wire, MARKER[:24], PAGE.encode())
    assert run.stop() == 0


def loses(scene: Scene, run: Process, before: int) -> bool:
    """Whether a connection, which passes, costs lines of the log."""
    return answers(scene, scene.urls()["IPv4"]) and dropped(run) > before


def dropped(run: Process) -> int:
    return int(said(run.pid)["log_lines_dropped"])


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
