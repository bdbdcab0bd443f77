"""The runtime as a program on real hosts: what it leaves behind however it ends, and what stops it from starting."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import Process

pytestmark = pytest.mark.netns

RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")
PORT = 8080
CAPTURE = {"capture_dst": {"port": PORT}}
NO_RA = {"no_ra": True}


def compiled(host: Host, document: object) -> Path:
    """The directory with what the compiler makes of ``document``."""
    config = tunnel.write_config(host.state / "config.json", document)
    made = host.state / "compiled"
    subprocess.run([tunnel.TNG, "compile", str(config), "-o", str(made)], check=True, capture_output=True, timeout=60)
    return made


@dataclass
class Tunnel:
    """Two compiled ends and a listening application behind the egress."""

    lab: Lab
    client: Path
    server: Path
    listener: socket.socket

    def start(self, host: str, *options: str, wait: bool = True) -> Process:
        directory = self.client if host == "client" else self.server
        process = self.lab[host].start(RUNTIME, "run", str(directory), *options)
        if wait:
            process.wait_for(r"\bevent=serving\b")
        return process

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """An application's connection through the tunnel, and the other end of it."""
        with self.lab["client"].inside():
            near = socket.create_connection((self.lab["server"].ipv4, PORT), timeout=10)
        near.sendall(b"hello")
        far, _ = self.listener.accept()
        far.settimeout(10)
        assert far.recv(100) == b"hello"
        return near, far


@pytest.fixture
def ends(hosts: Lab) -> Iterator[Tunnel]:
    client = compiled(hosts["client"], {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    server = compiled(hosts["server"], {"add_egress": [{"netfilter": CAPTURE, **NO_RA}]})
    with hosts["server"].inside():
        listener = socket.create_server(("0.0.0.0", PORT))
    listener.settimeout(10)
    with listener:
        yield Tunnel(hosts, client, server, listener)


def tables(host: Host) -> str:
    return host.run("nft", "list", "tables").stdout


def refused(host: Host, *argv: str) -> str:
    """What a start says that must end with 3, without a traceback."""
    done = host.run(*argv, check=False)
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    assert "help: " in done.stderr
    return done.stderr


def test_a_signal_lets_open_connections_end_in_peace_and_then_removes_the_rules(ends: Tunnel) -> None:
    ends.start("server")
    ingress = ends.start("client")
    near, far = ends.connect()
    with near, far:
        ingress.popen.send_signal(signal.SIGTERM)
        ingress.wait_for("event=draining")
        with ends.lab["client"].inside(), pytest.raises(OSError):  # noqa: PT011 - refused or reset, as the kernel likes
            socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=5)
        near.sendall(b"still here")
        assert far.recv(100) == b"still here"
        assert tables(ends.lab["client"]) == "table inet tng\n"
        near.shutdown(socket.SHUT_WR)
        assert far.recv(100) == b""
        far.close()
        assert near.recv(100) == b""
        assert ingress.wait() == 0
    assert tables(ends.lab["client"]) == ""


@pytest.mark.parametrize("how", ["second_signal", "deadline"])
def test_what_does_not_end_is_reset_before_the_rules_go(ends: Tunnel, how: str) -> None:
    ends.start("server")
    ingress = ends.start("client", "--drain", "600" if how == "second_signal" else "0.2")
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
    assert tables(ends.lab["client"]) == ""


def test_kept_rules_refuse_what_they_captured(ends: Tunnel) -> None:
    ingress = ends.start("client", "--keep-rules")
    assert ingress.stop() == 0
    assert tables(ends.lab["client"]) == "table inet tng\n"
    with ends.lab["client"].inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=5)
    ends.lab["client"].run(RUNTIME, "down")
    assert tables(ends.lab["client"]) == ""


def test_66_after_a_kill_the_rules_refuse_and_the_next_start_replaces_them(ends: Tunnel) -> None:
    ends.start("server")
    ends.start("client").kill()
    before = ends.lab["client"].run("nft", "list", "ruleset").stdout
    with ends.lab["client"].inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((ends.lab["server"].ipv4, PORT), timeout=5)
    again = ends.start("client")
    assert len(ends.lab["client"].run("nft", "list", "ruleset").stdout.splitlines()) == len(before.splitlines())
    near, far = ends.connect()
    near.close()
    far.close()
    assert again.stop() == 0
    assert ends.lab["client"].run("nft", "list", "ruleset").stdout == ""


def test_75_a_second_run_is_told_of_the_first_which_goes_on(ends: Tunnel) -> None:
    ends.start("server")
    first = ends.start("client")
    assert f"process {first.pid}" in refused(ends.lab["client"], RUNTIME, "run", str(ends.client))
    near, far = ends.connect()
    near.close()
    far.close()


def test_a_taken_port_refuses_the_start_and_installs_nothing(ends: Tunnel) -> None:
    with ends.lab["server"].inside(), socket.create_server(("0.0.0.0", 16001)):
        assert "16001" in refused(ends.lab["server"], RUNTIME, "run", str(ends.server))
    assert tables(ends.lab["server"]) == ""


def test_72_without_the_capability_the_start_is_refused(ends: Tunnel) -> None:
    argv = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin", RUNTIME, "run", str(ends.client))
    assert "NET_ADMIN" in refused(ends.lab["client"], *argv)
    assert tables(ends.lab["client"]) == ""


def test_72_without_the_binding_of_nftables_the_start_is_refused(ends: Tunnel, tmp_path: Path) -> None:
    """The package's directory is hidden from this one program by an empty one, in a mount namespace of its own."""
    script = 'mount --bind "$0" /usr/lib/python3/dist-packages && exec "$@"'
    argv = ("unshare", "--mount", "sh", "-c", script, str(tmp_path), RUNTIME, "run", str(ends.client))
    assert "apt install python3-nftables" in refused(ends.lab["client"], *argv)
    assert tables(ends.lab["client"]) == ""


def test_an_absent_agent_refuses_the_start_and_installs_nothing(hosts: Lab) -> None:
    attest = {"attest": {"aa_addr": "unix:///run/absent.sock"}}
    directory = compiled(hosts["server"], {"add_egress": [{"netfilter": CAPTURE, **attest}]})
    assert "/run/absent.sock" in refused(hosts["server"], RUNTIME, "run", str(directory))
    assert tables(hosts["server"]) == ""


def test_a_signal_while_the_agent_is_awaited_ends_the_start_and_leaves_nothing(hosts: Lab) -> None:
    server = hosts["server"]
    directory = compiled(server, {"add_egress": [{"netfilter": CAPTURE, "attest": {"aa_addr": "unix:///run/a.sock"}}]})
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(server.state / "run" / "a.sock"))
        silent.listen()
        silent.settimeout(10)
        run = server.start(RUNTIME, "run", str(directory))
        asked, _ = silent.accept()
        with asked:
            run.popen.send_signal(signal.SIGTERM)
            assert run.wait() == 0
    assert tables(server) == ""
    assert "event=serving" not in run.output()
    assert server.run("ls", "/run").stdout == "a.sock\n"


def test_readiness_is_told_to_the_service_manager(ends: Tunnel) -> None:
    client = ends.lab["client"]
    path = client.state / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(15)
        client.start(RUNTIME, "run", str(ends.client), env={"NOTIFY_SOCKET": str(path)})
        assert manager.recv(100) == b"READY=1"
    assert tables(client) == "table inet tng\n"


def test_a_reset_of_the_client_reaches_the_server_as_one(ends: Tunnel) -> None:
    ends.start("server")
    ends.start("client")
    near, far = ends.connect()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
    with far, pytest.raises(ConnectionResetError):
        far.recv(100)
