"""The processes of one instance: what each may do, and what becomes of the others when one ends or stands still."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from runtime.processes import children, connections, connections_at_all, only, reset, until, works
from runtime.senders import MARKER, Senders, assert_no_plaintext
from runtime.serve.test_privileges import status
from runtime.tunnels import PORT, RUNTIME, Tunnel, assert_closed, ends, tables
from tng_demo import tunnel
from tng_demo.capture import capture
from tng_demo.process import PATIENCE
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene
from tng_runtime.kernel.capabilities import CAP_NET_RAW

pytestmark = pytest.mark.netns

__all__ = ["ends"]


def test_only_the_supervisor_and_the_nursery_may_change_anything(ends: Tunnel) -> None:
    run = ends.start("client", "--workers", "3")
    assert len(children(run, "worker")) == 3
    assert len(children(run, "judge")) == len(children(run, "nursery")) == 1
    for pid in children(run, "judge") + children(run, "worker"):
        found = status(pid)
        assert [found[name] for name in ("CapEff", "CapPrm", "CapBnd")] == [f"{1 << CAP_NET_RAW:016x}"] * 3
        assert [found[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
        assert found["NoNewPrivs"] == "1"
        assert found["Seccomp"] == "2", "a filter (proc_pid_status(5))"
        assert found["Groups"] == ""
        assert found["Uid"].split() == ["65534"] * 4
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        # Of a process that is not dumpable the kernel gives these files to root (proc(5)).
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0


def test_no_child_holds_the_lock_or_speaks_netlink(ends: Tunnel) -> None:
    run = ends.start("client", "--workers", "2")
    for pid in children(run, "judge") + children(run, "worker") + children(run, "nursery"):
        opened = [os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")]
        assert not [name for name in opened if name.endswith(".lock")]
        sockets = {name for name in opened if name.startswith("socket:")}
        netlink = Path(f"/proc/{pid}/net/netlink").read_text(encoding="ascii")
        inodes = {f"socket:[{line.split()[-1]}]" for line in netlink.splitlines()[1:]}
        assert not sockets & inodes


def test_they_become_the_user_that_was_named(ends: Tunnel) -> None:
    run = ends.start("client", "--user", "12345", "--workers", "1")
    for pid in children(run, "judge") + children(run, "worker"):
        assert status(pid)["Uid"].split() == status(pid)["Gid"].split() == ["12345"] * 4


def test_a_worker_that_dies_takes_its_connections_along_with_resets_and_no_others(ends: Tunnel) -> None:
    ends.start("server", "--workers", "1")
    run = ends.start("client", "--workers", "2")
    with connections_at_all(ends, run) as made:
        victim, other = children(run, "worker")
        os.kill(victim, signal.SIGKILL)
        run.wait_for("event=worker_died .*SIGKILL", PATIENCE)
        run.wait_for("event=worker_replaced", PATIENCE)
        assert other in children(run, "worker")
        dead = [both for both in made if select.select([both[0]], [], [], 0)[0]]
        assert 0 < len(dead) < len(made), "both workers had some"
        for near, far in dead:
            assert reset(near)
            assert reset(far)
        for near, far in made:
            assert (near, far) in dead or works(near, far)
        with connections(ends, 10) as after:
            assert all(works(*both) for both in after)
    assert run.stop() == 0
    assert "workers=2" in run.output()


def test_a_worker_is_replaced_within_a_second(ends: Tunnel) -> None:
    """Of the moments in which others are busy the best of three counts."""
    run = ends.start("client", "--workers", "1")
    took = []
    for _ in range(3):
        said = len(run.output())
        began = time.monotonic()
        os.kill(only(run, "worker"), signal.SIGKILL)
        run.wait_for("event=worker_replaced", PATIENCE, after=said)
        took.append(time.monotonic() - began)
        time.sleep(1.1)
    assert min(took) < 1, took


def test_connections_that_wait_while_there_is_no_worker_are_served_by_the_next(ends: Tunnel) -> None:
    ends.start("server")
    run = ends.start("client", "--workers", "1")
    (nursery,) = children(run, "nursery")
    os.kill(nursery, signal.SIGSTOP)
    os.kill(only(run, "worker"), signal.SIGKILL)
    with ends.lab["client"].inside():
        near = socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=PATIENCE)
    with near:
        near.sendall(b"hello")
        os.kill(nursery, signal.SIGCONT)
        ends.listener.settimeout(PATIENCE)
        with ends.listener.accept()[0] as far:
            assert far.recv(10) == b"hello"


@pytest.mark.parametrize("role", ["supervisor", "nursery"])
def test_who_forked_the_others_takes_them_along_and_the_rules_refuse(ends: Tunnel, role: str) -> None:
    ends.start("server")
    run = ends.start("client", "--workers", "2")
    with connections(ends, 8) as made:
        os.kill(run.pid if role == "supervisor" else children(run, role)[0], signal.SIGKILL)
        for near, far in made:
            assert reset(near)
            assert reset(far)
    assert run.wait(PATIENCE) == (-signal.SIGKILL if role == "supervisor" else 3)
    until(lambda: not run.all_pids(), "some are left")
    assert_closed(ends.lab["client"], ends.lab["server"].ipv4)
    again = ends.start("client")
    with connections(ends, 2) as made:
        assert all(works(*both) for both in made)
    assert again.stop() == 0


def test_processes_that_stand_still_for_a_while_stop_no_connection_but_their_own(ends: Tunnel) -> None:
    """Of the egress all but the workers, together: what none of them can do then, none of them can do alone.

    Of the ingress one of two workers: it keeps its own waiting and no others. Some connections rest meanwhile, others
    are made and used.
    """
    server = ends.start("server", "--workers", "1")
    client = ends.start("client", "--workers", "2")
    near, far = ends.lab["client"], ends.lab["server"]
    with connections(ends, 16) as made, capture(near, far, near.state / "wire.pcap") as wire:
        worker = children(client, "worker")[0]
        stopped = [server.pid, only(server, "nursery"), only(server, "judge"), worker]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end:
                with connections(ends, 4) as new:
                    assert all(works(*both) for both in new)
                time.sleep(0.5)
        finally:
            for pid in reversed(stopped):
                os.kill(pid, signal.SIGCONT)
        assert all(works(*both) for both in made), "it goes on where it was"
        payload = b"".join(segment.payload for segment in wire.stop())
    assert payload
    assert b"hello" not in payload
    for run in (client, server):
        assert run.stop() == 0
        assert "_died" not in run.output()


def test_a_worker_that_does_not_drain_is_killed_before_the_rules_go(ends: Tunnel) -> None:
    ends.start("server")
    run = ends.start("client", "--workers", "2", "--on-exit", "open", "--drain", "0.2")
    with connections(ends, 8) as made:
        for pid in children(run, "worker"):
            os.kill(pid, signal.SIGSTOP)
        run.popen.send_signal(signal.SIGTERM)
        run.wait_for("event=worker_killed", PATIENCE)
        assert run.wait(PATIENCE) == 0
        assert tables(ends.lab["client"]) == set()
        for near, far in made:
            assert reset(near)
            assert reset(far)


def test_the_last_line_sums_what_all_workers_did(ends: Tunnel) -> None:
    ends.start("server")
    run = ends.start("client", "--workers", "3")
    with connections(ends, 30) as made:
        for near, far in made:
            near.close()
            assert far.recv(10) == b""
            far.close()
    assert run.stop() == 0
    last = run.output().splitlines()[-1]
    assert "event=stopped" in last
    assert "relayed=30" in last
    assert len(re.findall(r"\bevent=closed\b", run.output())) == 30


def test_signals_to_the_children_are_not_theirs(ends: Tunnel) -> None:
    """A service manager tells all processes of a unit to end; who ends when is the supervisor's to say."""
    ends.start("server")
    run = ends.start("client", "--workers", "2")
    with connections(ends, 4) as made:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            for pid in children(run, "worker") + children(run, "judge") + children(run, "nursery"):
                os.kill(pid, number)
        assert all(works(*both) for both in made)
        os.killpg(run.pid, signal.SIGTERM)
        run.wait_for("event=draining", PATIENCE)
        assert all(works(*both) for both in made)
    assert run.wait(PATIENCE) == 0
    assert "_died" not in run.output()


@contextmanager
def no_more_processes(pid: int) -> Iterator[Callable[[], object]]:
    """Let fork(2) fail in process ``pid`` until what is yielded is called (pids.max of cgroups, v1 or v2)."""
    first = Path("/sys/fs/cgroup/pids").is_dir()
    root, own = (Path("/sys/fs/cgroup/pids"), ":pids:") if first else (Path("/sys/fs/cgroup"), "0::")
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    home = root / next(line.partition(own)[2] for line in lines if own in line).strip("/")
    group = root / f"tng-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("1")
        yield partial((group / "pids.max").write_text, "max")
    finally:
        for left in (group / "cgroup.procs").read_text().split():
            (home / "cgroup.procs").write_text(left)
        group.rmdir()


@pytest.mark.parametrize("role", ["judge", "worker"])
def test_who_cannot_be_forked_is_replaced_when_it_can_be_again(ends: Tunnel, role: str) -> None:
    ends.start("server")
    run = ends.start("client", "--workers", "2")
    with no_more_processes(only(run, "nursery")) as no_longer, connections(ends, 1):
        os.kill(children(run, role)[0], signal.SIGKILL)
        said = run.wait_for(f"event={role}_not_replaced.*", PATIENCE)[0]
        assert "could not be forked: Resource temporarily unavailable" in said
        assert "pids.max" in said
        with connections(ends, 4) as made:
            assert all(works(*both) for both in made)
        assert f"{role}_replaced" not in run.output()
        no_longer()
        run.wait_for(f"event={role}_replaced", PATIENCE)
        assert len(children(run, "worker")) == 2
        assert only(run, "judge")
        with connections(ends, 4) as made:
            assert all(works(*both) for both in made)
    assert run.stop() == 0, run.output()


def test_one_verification_serves_all_workers(scene: Scene) -> None:
    tunnel.serve(scene.server, SERVER_CONFIG)
    run = tunnel.serve(scene.client, CLIENT_CONFIG)
    assert len(children(run, "worker")) == len(os.sched_getaffinity(0))
    for _ in range(6):
        assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE


def test_a_judge_that_dies_is_replaced_and_asked_again(scene: Scene) -> None:
    """At rest, and while connections are made and written to, none of which it ends."""
    egress = tunnel.serve(scene.server, SERVER_CONFIG)
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    with scene.wire() as wire:
        for load in (False, True):
            with Senders(scene.client, scene.server.ipv4, count=4 * load) as senders:
                senders.wait_for_writes(200 * load)
                for run in (egress, ingress):
                    told = len(run.output())
                    os.kill(only(run, "judge"), signal.SIGKILL)
                    run.wait_for("event=judge_died .*SIGKILL", PATIENCE, after=told)
                    run.wait_for("event=judge_replaced", PATIENCE, after=told)
                assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
                senders.wait_for_writes(senders.writes + 100 * load)
                assert senders.failures == 0
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
    assert "worker_died" not in egress.output() + ingress.output()


def test_what_a_stopped_judge_was_asked_is_answered_late(scene: Scene) -> None:
    tunnel.serve(scene.server, SERVER_CONFIG)
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    (judge,) = children(ingress, "judge")
    os.kill(judge, signal.SIGSTOP)
    curl = scene.client.start("curl", "-gsS", "--max-time", str(PATIENCE), scene.urls()["IPv4"])
    try:
        time.sleep(3)
        assert curl.alive(), curl.output()
    finally:
        os.kill(judge, signal.SIGCONT)
    assert curl.wait(PATIENCE) == 0
    assert curl.output() == PAGE


@contextmanager
def manager_of(ends: Tunnel) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """What a service manager listens at, and what it tells a program about that (sd_notify(3))."""
    path = ends.lab["client"].state / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(path))
        sock.settimeout(PATIENCE)
        yield sock, {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "2000000"}


def told(manager: socket.socket, wanted: str) -> None:
    """Wait until the manager was told something that has a line like ``wanted``."""
    while not re.search(wanted, manager.recv(1000).decode(), re.MULTILINE):
        pass


def is_fed(manager: socket.socket, seconds: float) -> bool:
    end = time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        while (left := end - time.monotonic()) > 0:
            manager.settimeout(left)
            if b"WATCHDOG=1" in manager.recv(1000):
                return True
    return False


@pytest.mark.parametrize("role", ["judge", "worker"])
def test_the_watchdog_is_fed_while_judge_and_workers_answer(ends: Tunnel, role: str) -> None:
    with manager_of(ends) as (manager, env):
        client = ends.lab["client"]
        run = client.start(RUNTIME, "run", str(ends.client), "--workers", "2", env=env)
        told(manager, "^READY=1$")
        told(manager, "^WATCHDOG=1$")
        told(manager, "^WATCHDOG=1$")
        pid = children(run, role)[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            told(manager, f"^STATUS=serving, .*; no answer from: {role} {pid}$")
            assert not is_fed(manager, 4)
        finally:
            os.kill(pid, signal.SIGCONT)
        manager.settimeout(PATIENCE)
        told(manager, "^STATUS=serving, 1 entries, 2 workers$")
        assert is_fed(manager, PATIENCE)
        assert run.stop() == 0, run.output()


def test_the_watchdog_is_fed_by_whoever_took_over(ends: Tunnel) -> None:
    """The manager named one process; it names none to the heir of that one."""
    with manager_of(ends) as (manager, env):
        run = ends.lab["client"].start(
            "sh", "-c", 'export WATCHDOG_PID=$$; exec "$0" "$@"', RUNTIME, "run", str(ends.client), env=env
        )
        told(manager, "^WATCHDOG=1$")
        run.popen.send_signal(signal.SIGHUP)
        told(manager, "^READY=1$")
        assert run.wait(PATIENCE) == 0, run.output()
        assert is_fed(manager, PATIENCE)
        assert is_fed(manager, PATIENCE)


def test_who_is_named_by_no_manager_feeds_none(ends: Tunnel) -> None:
    with manager_of(ends) as (manager, env):
        run = ends.lab["client"].start(RUNTIME, "run", str(ends.client), env={**env, "WATCHDOG_PID": "1"})
        told(manager, "^READY=1$")
        assert not is_fed(manager, 3)
        assert run.stop() == 0, run.output()
