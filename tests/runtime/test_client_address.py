"""An egress that dials from its clients' addresses: what the service sees, what holds, and what is left of it."""

from __future__ import annotations

import contextlib
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest
from OpenSSL import SSL

from runtime.tunnels import BOTH, CAPTURE, NO_RA, PORT, RUNTIME, compiled, tables
from tng_demo import tunnel
from tng_demo.capture import capture
from tng_demo.lab import Host, Lab
from tng_demo.process import Process
from tng_runtime.tunnel.contexts import ALPN

pytestmark = pytest.mark.netns

ORIGINAL = {**CAPTURE, "client_address": "original"}
SECRET = b"what the service says is for the tunnel alone. " * 20


class Service:
    """Answers each connection with its client's address, and then with what it gets."""

    def __init__(self, host: Host, port: int = PORT) -> None:
        with host.inside():
            self._listeners = [socket.create_server(("0.0.0.0", port)), socket.socket(socket.AF_INET6)]
            self._listeners[1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._listeners[1].bind(("::", port))
        for listener in self._listeners:
            listener.listen(4096)
            threading.Thread(target=self._serve, args=[listener], daemon=True).start()
        self.accepted: list[socket.socket] = []

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, address = listener.accept()
                self.accepted.append(connection)
                connection.sendall(f"{address[0]}\n".encode())
                threading.Thread(target=self._echo, args=[connection], daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End everything."""
        for sock in (*self._listeners, *self.accepted):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


@pytest.fixture
def service(hosts: Lab) -> Iterator[Service]:
    serving = Service(hosts["server"])
    yield serving
    serving.close()


def ingress(hosts: Lab) -> Process:
    return started(hosts["client"], {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})


def egress(hosts: Lab, *options: str, capture: Mapping[str, object] = ORIGINAL) -> Process:
    return started(hosts["server"], {"add_egress": [{"netfilter": capture, **NO_RA}]}, *options)


def started(host: Host, document: object, *options: str) -> Process:
    process = host.start(RUNTIME, "run", str(compiled(host, document)), *options)
    process.wait_for(r"\bevent=serving\b")
    return process


def connect(host: Host, target: str) -> socket.socket:
    with host.inside():
        return socket.create_connection((target, PORT), timeout=60)


def seen(sock: socket.socket) -> str:
    """Whom the service says that it sees."""
    line = b""
    while not line.endswith(b"\n"):
        line += sock.recv(1) or pytest.fail(f"the connection ended after {line!r}")
    return line.decode().strip()


def way_back(host: Host) -> list[str]:
    """What of ours is outside of the tables."""
    found = []
    for family in ("-4", "-6"):
        rules = host.run("ip", family, "rule", "show").stdout.splitlines()
        found += [line for line in rules if "29799" in line]
        found += host.run("ip", family, "route", "show", "table", "29799", check=False).stdout.splitlines()
    return found


@pytest.mark.parametrize("strict", ["0", "1"])
def test_the_service_sees_the_clients_address_in_both_families(hosts: Lab, service: Service, strict: str) -> None:
    for name in ("all", "eth0", "default"):
        hosts["server"].run("sysctl", "-w", f"net.ipv4.conf.{name}.rp_filter={strict}")
    egress(hosts)
    ingress(hosts)
    client, server = hosts["client"], hosts["server"]
    for near, far in ((client.ipv4, server.ipv4), (client.ipv6, server.ipv6)):
        with connect(client, far) as sock:
            assert seen(sock) == near
            sock.sendall(SECRET)
            received = b""
            while len(received) < len(SECRET):
                received += sock.recv(1 << 16) or pytest.fail("the connection ended")
            assert received == SECRET
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(10) == b""


def test_a_thousand_connections_at_a_time_of_one_client(hosts: Lab, service: Service) -> None:
    egress(hosts)
    ingress(hosts)
    client, server = hosts["client"], hosts["server"]
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(client, server.ipv4)) for _ in range(1000)]
        assert {seen(sock) for sock in socks} == {client.ipv4}


def test_a_client_on_the_same_host_is_captured_and_dialled_from_its_own_address(hosts: Lab, service: Service) -> None:
    server = hosts["server"]
    egress(hosts, capture={**ORIGINAL, "capture_local_traffic": True})
    with server.inside(), contextlib.ExitStack() as stack:
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_alpn_protos([ALPN])
        for family, host in ((socket.AF_INET, server.ipv4), (socket.AF_INET6, server.ipv6)):
            # A peer of its own, since an ingress captures nothing that stays on its host.
            sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 60, 0))
            sock.connect((host, PORT))
            peer = SSL.Connection(context, sock)
            peer.set_connect_state()
            peer.do_handshake()
            assert peer.recv(100).decode().strip() == host


def test_nothing_of_it_is_on_the_wire_and_answers_without_a_way_back_are_dropped(hosts: Lab, service: Service) -> None:
    run = egress(hosts)
    ingress(hosts)
    client, server = hosts["client"], hosts["server"]
    with capture(client, server, client.state / "wire.pcap") as wire, connect(client, server.ipv4) as sock:
        assert seen(sock) == client.ipv4
        # The run would put the rule back in half a second.
        run.popen.send_signal(signal.SIGSTOP)
        for pid in run.all_pids():
            server.run("kill", "-STOP", str(pid))
        server.run("ip", "rule", "del", "priority", "116")
        service.accepted[0].sendall(SECRET)
        deadline = time.monotonic() + 60
        while "strayed_answers" not in counted(server):
            assert time.monotonic() < deadline, server.run("nft", "list", "counters").stdout
            time.sleep(0.1)
        for pid in run.all_pids():
            server.run("kill", "-CONT", str(pid))
        run.popen.send_signal(signal.SIGCONT)
        # And so the answer arrives after all, retransmitted.
        received = b""
        while len(received) < len(SECRET):
            received += sock.recv(1 << 16) or pytest.fail("the connection ended")
        assert received == SECRET
        segments = wire.stop()
    payload = b"".join(segment.payload for segment in segments)
    assert payload, "there was something to look at"
    assert SECRET[:20] not in payload
    assert client.ipv4.encode() not in payload


def counted(host: Host) -> set[str]:
    """The counters that have counted something."""
    found, name = set(), ""
    for line in host.run("nft", "list", "counters").stdout.splitlines():
        if "counter " in line:
            name = line.split()[1]
        if "packets" in line and "packets 0 " not in line:
            found.add(name)
    return found


# As Docker publishes a port: it is translated for who comes in and for this host itself.
PUBLISHED = f"""
table ip docker {{
    chain in {{ type nat hook prerouting priority -100; fib daddr type local tcp dport {PORT} dnat to 172.30.0.2; }}
    chain out {{ type nat hook output priority -100; fib daddr type local tcp dport {PORT} dnat to 172.30.0.2; }}
    chain post {{ type nat hook postrouting priority 100; ip saddr 172.30.0.0/24 oifname != "box" masquerade; }}
}}
"""


def test_a_container_behind_a_published_port_sees_the_client(hosts: Lab) -> None:
    client, server = hosts["client"], hosts["server"]
    # It goes with the lab, by its name.
    namespace = f"tng-{hosts.name}-box"
    box = replace(server, name="box", namespace=namespace, ipv4="172.30.0.2", processes=[])
    for command in (
        f"ip netns add {namespace}",
        f"ip link add box netns {server.namespace} type veth peer name eth0 netns {namespace}",
        f"ip -n {server.namespace} addr add 172.30.0.1/24 dev box",
        f"ip -n {server.namespace} link set box up",
        f"ip -n {namespace} addr add 172.30.0.2/24 dev eth0",
        f"ip -n {namespace} link set eth0 up",
        f"ip -n {namespace} route add default via 172.30.0.1",
    ):
        subprocess.run(command.split(), check=True)
    server.run("sysctl", "-w", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=1")
    server.run("nft", "-f", "-", stdin=PUBLISHED)
    service = Service(box)
    try:
        egress(hosts)
        ingress(hosts)
        with connect(client, server.ipv4) as sock:
            assert seen(sock) == client.ipv4
            sock.sendall(b"ping")
            assert sock.recv(10) == b"ping"
    finally:
        service.close()


def test_what_others_remove_is_put_back(hosts: Lab, service: Service) -> None:
    run = egress(hosts)
    before = way_back(hosts["server"])
    assert len(before) == 4
    hosts["server"].run("ip", "rule", "del", "priority", "116")
    hosts["server"].run("ip", "-6", "route", "flush", "table", "29799")
    run.wait_for("event=way_back_restored", 60)
    deadline = time.monotonic() + 60
    while way_back(hosts["server"]) != before:
        assert time.monotonic() < deadline, way_back(hosts["server"])
        time.sleep(0.1)


def test_nothing_is_left_after_down(hosts: Lab, service: Service) -> None:
    server = hosts["server"]
    run = egress(hosts)
    assert len(way_back(server)) == 4
    assert run.stop() == 0
    assert tables(server) == BOTH
    assert len(way_back(server)) == 4, "the rules stay, and what belongs to them"
    server.run(tunnel.TNG, "down")
    assert way_back(server) == []
    assert tables(server) == set()


def test_nothing_is_left_after_an_open_end_and_of_a_killed_run_after_the_next_start(
    hosts: Lab, service: Service
) -> None:
    server = hosts["server"]
    run = egress(hosts, "--on-exit", "open")
    assert run.stop() == 0
    assert way_back(server) == []
    egress(hosts).kill()
    assert len(way_back(server)) == 4
    run = egress(hosts, capture=CAPTURE)
    assert way_back(server) == []
    run.stop()


def test_a_host_without_ipv6_has_a_way_back_for_ipv4(hosts: Lab, service: Service) -> None:
    hosts["server"].run("sysctl", "-w", "net.ipv6.conf.all.disable_ipv6=1")
    egress(hosts)
    ingress(hosts)
    with connect(hosts["client"], hosts["server"].ipv4) as sock:
        assert seen(sock) == hosts["client"].ipv4
