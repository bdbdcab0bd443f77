"""The runtime as a program on real hosts: what it leaves behind however it ends, and what stops it from starting."""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path

import pytest

from packets.cgroups import cgroups, with_cgroups
from runtime.tunnels import BOTH, CAPTURE, NO_RA, PORT, RUNTIME, Tunnel, assert_closed, compiled, ends, tables
from tng_demo.lab import Host, Lab

pytestmark = pytest.mark.netns

__all__ = ["ends"]


def refused(host: Host, *argv: str) -> str:
    """What a start says that must end with 3, without a traceback."""
    done = host.run(*argv, check=False)
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    assert "help: " in done.stderr
    return done.stderr


@pytest.mark.parametrize("on_exit", ["closed", "open"])
def test_a_signal_lets_open_connections_end_in_peace_and_then_the_rules_stay_or_go(ends: Tunnel, on_exit: str) -> None:
    ends.start("server")
    ingress = ends.start("client", *(["--on-exit", "open"] if on_exit == "open" else []))
    near, far = ends.connect()
    with near, far:
        ingress.popen.send_signal(signal.SIGTERM)
        ingress.wait_for("event=draining")
        assert_closed(ends.lab["client"], ends.lab["server"].ipv4)
        with ends.lab["client"].inside(), pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", 15001))
        near.sendall(b"still here")
        assert far.recv(100) == b"still here"
        assert tables(ends.lab["client"]) == BOTH
        near.shutdown(socket.SHUT_WR)
        assert far.recv(100) == b""
        far.close()
        assert near.recv(100) == b""
        assert ingress.wait() == 0
    if on_exit == "open":
        assert tables(ends.lab["client"]) == set()
        assert "rules=removed" in ingress.output().splitlines()[-1]
    else:
        assert_closed(ends.lab["client"], ends.lab["server"].ipv4)
        assert 'opens="tng down"' in ingress.output().splitlines()[-1]


@pytest.mark.parametrize("how", ["second_signal", "deadline"])
def test_what_does_not_end_is_reset_before_the_rules_go(ends: Tunnel, how: str) -> None:
    ends.start("server")
    ingress = ends.start("client", "--on-exit", "open", "--drain", "600" if how == "second_signal" else "0.2")
    near, far = ends.connect()
    with near, far:
        ingress.popen.send_signal(signal.SIGTERM)
        if how == "second_signal":
            ingress.wait_for("event=stopping")
            ingress.popen.send_signal(signal.SIGINT)
        with pytest.raises(ConnectionResetError):
            near.recv(100)
        with pytest.raises(ConnectionResetError):
            far.recv(100)
        assert ingress.wait() == 0
    assert tables(ends.lab["client"]) == set()


def test_107_a_stopped_run_leaves_the_rules_and_down_opens(ends: Tunnel) -> None:
    client = ends.lab["client"]
    assert ends.start("client").stop() == 0
    assert_closed(client, ends.lab["server"].ipv4)
    client.run(RUNTIME, "down")
    assert tables(client) == set()
    with client.inside(), socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=60):
        ends.listener.accept()[0].close()


def test_66_after_a_kill_the_rules_refuse_and_the_next_start_replaces_them(ends: Tunnel) -> None:
    ends.start("server")
    ends.start("client").kill()
    before = ends.lab["client"].run("nft", "list", "ruleset").stdout
    with ends.lab["client"].inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=60)
    again = ends.start("client", "--on-exit", "open")
    assert len(ends.lab["client"].run("nft", "list", "ruleset").stdout.splitlines()) == len(before.splitlines())
    near, far = ends.connect()
    near.close()
    far.close()
    assert again.stop() == 0
    assert ends.lab["client"].run("nft", "list", "ruleset").stdout == ""


def test_a_taken_port_refuses_the_start_and_leaves_it_closed(ends: Tunnel) -> None:
    server = ends.lab["server"]
    with server.inside(), socket.create_server(("0.0.0.0", 16001)):
        said = refused(server, RUNTIME, "run", str(ends.server))
    assert "16001" in said
    assert "`tng down` opens" in said
    assert tables(server) == BOTH
    with ends.lab["client"].inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((server.ipv4, PORT), timeout=60)


def test_a_start_that_fails_opens_when_that_was_asked_for(ends: Tunnel) -> None:
    server = ends.lab["server"]
    with server.inside(), socket.create_server(("0.0.0.0", 16001)):
        assert "tng down" not in refused(server, RUNTIME, "run", "--on-exit", "open", str(ends.server))
    assert tables(server) == set()


def test_72_without_the_capability_the_start_is_refused(ends: Tunnel) -> None:
    argv = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", RUNTIME, "run", str(ends.client))
    assert "NET_ADMIN" in refused(ends.lab["client"], *argv)
    assert tables(ends.lab["client"]) == set()


def test_72_without_the_binding_of_nftables_the_start_is_refused(ends: Tunnel, tmp_path: Path) -> None:
    """The package's directory is hidden from this one program by an empty one, in a mount namespace of its own."""
    script = 'mount --bind "$0" /usr/lib/python3/dist-packages && exec "$@"'
    argv = ("unshare", "--mount", "sh", "-c", script, str(tmp_path), RUNTIME, "run", str(ends.client))
    assert "apt install python3-nftables" in refused(ends.lab["client"], *argv)
    assert tables(ends.lab["client"]) == set()


def test_an_absent_agent_refuses_the_start_and_leaves_it_closed(hosts: Lab) -> None:
    attest = {"attest": {"aa_addr": "unix:///run/absent.sock"}}
    directory = compiled(hosts["server"], {"add_egress": [{"netfilter": CAPTURE, **attest}]})
    said = refused(hosts["server"], RUNTIME, "run", str(directory))
    assert "/run/absent.sock" in said
    assert "refuse what they capture" in said
    assert tables(hosts["server"]) == BOTH


def test_before_the_agent_answers_it_is_closed_and_a_signal_ends_the_start(hosts: Lab) -> None:
    server = hosts["server"]
    directory = compiled(server, {"add_egress": [{"netfilter": CAPTURE, "attest": {"aa_addr": "unix:///run/a.sock"}}]})
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(server.state / "run" / "a.sock"))
        silent.listen()
        silent.settimeout(60)
        run = server.start(RUNTIME, "run", str(directory))
        asked, _ = silent.accept()
        with asked:
            assert tables(server) == BOTH
            run.popen.send_signal(signal.SIGTERM)
            assert run.wait() == 0
    assert "event=serving" not in run.output()
    assert 'opens="tng down"' in run.output().splitlines()[-1]
    assert server.run("ls", "/run").stdout == "a.sock\n"


def test_a_service_that_hangs_delays_neither_rules_nor_listeners(hosts: Lab) -> None:
    client = hosts["client"]
    verify = {"verify": {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}}
    directory = compiled(client, {"add_ingress": [{"netfilter": CAPTURE, **verify}]})
    with client.inside(), socket.create_server(("127.0.0.1", 8081)) as service:
        service.settimeout(60)
        run = client.start(RUNTIME, "run", str(directory))
        asked, _ = service.accept()
        with asked:
            run.wait_for(r"\bevent=serving\b")
            assert "service_not_ready" not in run.output(), "it still waits for the answer"


def test_ipv6_that_comes_after_the_start_is_served_as_soon_as_it_is_there(ends: Tunnel) -> None:
    client, server = ends.lab["client"], ends.lab["server"]
    client.run("ip", "addr", "del", "::1/128", "dev", "lo")
    ends.start("server")
    run = ends.start("client")
    with server.inside():
        listener = socket.create_server(("::", PORT), family=socket.AF_INET6)
    with listener:
        with client.inside(), pytest.raises(OSError):  # noqa: PT011 - refused or unreachable, as the kernel likes
            socket.create_connection((server.ipv6, PORT), timeout=60)
        client.run("ip", "addr", "add", "::1/128", "dev", "lo")
        run.wait_for("event=listening_late .*::1")
        with client.inside(), socket.create_connection((server.ipv6, PORT), timeout=60) as near:
            near.sendall(b"hello")
            listener.settimeout(60)
            with listener.accept()[0] as far:
                assert far.recv(100) == b"hello"


def test_guard_closes_before_the_first_start_and_leaves_a_live_run_alone(ends: Tunnel) -> None:
    client, target = ends.lab["client"], ends.lab["server"].ipv4
    done = client.run(RUNTIME, "guard", str(ends.client))
    assert 'opens="tng down"' in done.stderr
    assert tables(client) == {"table inet tng"}
    with client.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((target, PORT), timeout=60)
    assert client.run("ls", "/run").stdout == ""
    ends.start("server")
    run = ends.start("client")
    assert f"process {run.pid}" in refused(client, RUNTIME, "guard", str(ends.client))
    for sock in ends.connect():
        sock.close()


def test_a_cgroup_that_is_not_there_yet_keeps_guard_and_start_closed(ends: Tunnel) -> None:
    """At boot its unit has not started: `guard` goes on without it, a start is refused by its name; both are closed."""
    client, target = ends.lab["client"], ends.lab["server"].ipv4
    netfilter = {**CAPTURE, "capture_cgroup": ["absent.slice/web.service"]}
    directory = str(compiled(client, {"add_ingress": [{"netfilter": netfilter, **NO_RA}]}))
    sender = ("curl", "-sS", "--max-time", "10", f"http://{target}:{PORT}/")
    with cgroups(f"tng-late-{os.getpid()}/unit"):
        join = f'echo 0 >/sys/fs/cgroup/tng-late-{os.getpid()}/unit/cgroup.procs && exec "$@"'
        guarded = client.run(*with_cgroups([RUNTIME, "guard", directory]))
        assert "unknown_cgroups=absent.slice/web.service" in guarded.stderr
        assert tables(client) == {"table inet tng"}
        assert client.run("nft", "list", "set", "inet", "tng", "ingress_0_inside_2").stdout.count("elements") == 0
        assert "absent.slice/web.service" in refused(client, *with_cgroups([RUNTIME, "run", directory]))
        assert tables(client) == BOTH
    with cgroups(f"tng-late-{os.getpid()}/unit"):
        # Another one than the rules have seen.
        done = client.run(*with_cgroups(["sh", "-c", join, "sh", *sender]), check=False)
        assert done.returncode == 7, done


def test_113_a_directory_that_others_can_write_to_is_not_executed(ends: Tunnel) -> None:
    ends.client.chmod(0o777)
    for command in ("run", "guard"):
        assert str(ends.client) in refused(ends.lab["client"], RUNTIME, command, str(ends.client))
    assert tables(ends.lab["client"]) == set()


def test_readiness_is_told_to_the_service_manager(ends: Tunnel) -> None:
    client = ends.lab["client"]
    path = client.state / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        run = client.start(RUNTIME, "run", str(ends.client), env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(200).decode().splitlines()[:2] == ["READY=1", f"MAINPID={run.pid}"]
        run.stop()
        assert manager.recv(200) == b"STOPPING=1"
    assert tables(client) == BOTH


def test_a_reset_of_the_client_reaches_the_server_as_one(ends: Tunnel) -> None:
    ends.start("server")
    ends.start("client")
    near, far = ends.connect()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    with far, pytest.raises(ConnectionResetError):
        far.recv(100)
