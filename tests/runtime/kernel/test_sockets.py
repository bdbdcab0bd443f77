"""Redirected connections through a real kernel: destinations, listeners and marks, in both families."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tng_demo.capture import capture
from tng_demo.lab import Host, Lab
from tng_runtime.errors import HostError, Refused
from tng_runtime.kernel import diag, liveness, nftables, sockets
from tng_runtime.kernel.sockets import Destination
from tng_runtime.manifest import Entry, Family, Role

pytestmark = pytest.mark.netns

FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")
MARK = 565
INGRESS = (
    "table inet tng {\n chain c {\n type nat hook output priority -105\n"
    f"meta mark != {MARK} tcp dport 8080 redirect to :15001\n}}\n}}"
)
EGRESS = (
    "table inet tng {\n chain c {\n type nat hook prerouting priority -105\ntcp dport 8080 redirect to :16001\n}\n}"
)


def entry(role: Role, port: int, families: tuple[Family, ...] = FAMILIES) -> Entry:
    return Entry(f"/add_{role}/0", role, port, MARK, families, None, None)


def address(host: Host, family: Family) -> str:
    return host.ipv4 if family == "ipv4" else host.ipv6


def accept(listener: socket.socket) -> socket.socket:
    listener.settimeout(60)
    return listener.accept()[0]


@pytest.fixture
def client(hosts: Lab) -> Iterator[Host]:
    with hosts["client"].inside():
        yield hosts["client"]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_ingress_on_loopback_gets_what_the_host_sends_out(hosts: Lab, client: Host, family: Family) -> None:
    nftables.load(INGRESS, "tng")
    listener = sockets.listener("ingress", family, 15001, MARK)
    target = address(hosts["server"], family)
    with listener, socket.create_connection((target, 8080), timeout=60) as app, accept(listener) as accepted:
        found = sockets.original_destination(accepted)
        assert found == Destination(family, target, 8080)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        app.sendall(b"through")
        assert accepted.recv(16) == b"through"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_egress_on_the_wildcard_gets_what_arrives(hosts: Lab, family: Family) -> None:
    target = address(hosts["server"], family)
    with hosts["server"].inside():
        nftables.load(EGRESS, "tng")
        listener = sockets.listener("egress", family, 16001, MARK)
    with (
        listener,
        hosts["client"].inside(),
        socket.create_connection((target, 8080), timeout=60),
        accept(listener) as got,
    ):
        assert sockets.original_destination(got) == Destination(family, target, 8080)


@pytest.mark.parametrize("rules", [INGRESS, "table inet tng { }"], ids=["with-nat", "without-nat"])
@pytest.mark.parametrize("family", FAMILIES)
def test_73_a_connection_straight_to_the_listen_port_is_refused(client: Host, family: Family, rules: str) -> None:
    nftables.load(rules, "tng")
    listener = sockets.listener("ingress", family, 15001, MARK)
    host = "127.0.0.1" if family == "ipv4" else "::1"
    with listener, socket.create_connection((host, 15001), timeout=60), accept(listener) as accepted:
        with pytest.raises(Refused) as caught:
            sockets.original_destination(accepted)
        assert caught.value.code == "NET-DIRECT"


@pytest.mark.parametrize("family", FAMILIES)
def test_74_a_dialled_socket_carries_the_mark_and_is_not_captured(hosts: Lab, client: Host, family: Family) -> None:
    nftables.load(INGRESS, "tng")
    with hosts["server"].inside():
        server = socket.create_server(
            (address(hosts["server"], family), 8080), family=socket.AF_INET6 if family == "ipv6" else socket.AF_INET
        )
    destination = Destination(family, address(hosts["server"], family), 8080)
    with server, sockets.dial_socket(family, MARK) as dialled:
        assert not dialled.getblocking()
        dialled.settimeout(60)
        dialled.connect(destination.sockaddr)
        with accept(server) as accepted:
            assert accepted.getpeername()[0] == address(hosts["client"], family)


@pytest.mark.parametrize("family", FAMILIES)
def test_65_an_aborted_connection_writes_nothing_when_the_table_is_gone(
    hosts: Lab, client: Host, family: Family, tmp_path: Path
) -> None:
    nftables.load(INGRESS, "tng")
    listener = sockets.listener("ingress", family, 15001, MARK)
    target = address(hosts["server"], family)
    with capture(client, hosts["server"], tmp_path / "wire.pcap") as wire:
        with listener, socket.create_connection((target, 8080), timeout=60) as app:
            sockets.abort(accept(listener))
            nftables.remove("tng")
            with pytest.raises(ConnectionResetError):
                app.sendall(b"plaintext")
        assert wire.stop() == []


def test_both_families_listen_on_one_port(client: Host) -> None:
    found = sockets.listeners(entry("egress", 16001))
    try:
        assert [sock.family for sock in found] == [socket.AF_INET, socket.AF_INET6]
        assert [sock.getblocking() for sock in found] == [False, False]
    finally:
        for sock in found:
            sock.close()


def test_a_taken_port_is_named_and_nothing_stays_open(client: Host) -> None:
    with closing(sockets.listener("ingress", "ipv6", 15001, MARK)), pytest.raises(HostError, match=r"\[::1\]:15001"):
        sockets.listeners(entry("ingress", 15001))
    sockets.listener("ingress", "ipv4", 15001, MARK).close()


def test_a_host_without_ipv6_serves_ipv4(client: Host) -> None:
    client.run("ip", "addr", "del", "::1/128", "dev", "lo")
    found = sockets.listeners(entry("ingress", 15001))
    assert [sock.family for sock in found] == [socket.AF_INET]
    found[0].close()
    with pytest.raises(HostError, match=r"\[::1\]:15001"):
        sockets.listeners(entry("ingress", 15001, ("ipv6",)))


@pytest.mark.parametrize(
    ("destination", "text"),
    [
        (Destination("ipv4", "192.0.2.1", 80), "192.0.2.1:80"),
        (Destination("ipv6", "2001:db8::1", 80), "[2001:db8::1]:80"),
    ],
)
def test_a_destination_reads_as_an_address_with_port(destination: Destination, text: str) -> None:
    assert str(destination) == text


def test_a_listener_carries_the_mark_from_before_it_is_bound_and_gives_it_to_no_one_else(client: Host) -> None:
    with sockets.listener("ingress", "ipv4", 15001, MARK) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_MARK) == MARK


def squat(address: str, port: int = 15001) -> socket.socket:
    """What a local user may try: SO_REUSEADDR on the address or the wildcard."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((address, port))
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_105_nobody_else_gets_the_port_while_it_only_stays_bound(client: Host, address: str) -> None:
    with sockets.listener("ingress", "ipv4", 15001, MARK) as listener:
        with socket.create_connection(("127.0.0.1", 15001), timeout=60) as waiting:
            sockets.stop_listening(listener)
            sockets.stop_listening(listener)
            with pytest.raises(ConnectionResetError):
                waiting.recv(1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", 15001), timeout=60)
        with pytest.raises(OSError, match="in use"):
            squat(address)


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_105_what_a_dead_run_left_in_time_wait_keeps_others_away_and_not_the_next_run(
    client: Host, address: str
) -> None:
    with (
        sockets.listener("ingress", "ipv4", 15001, MARK) as listener,
        socket.create_connection(("127.0.0.1", 15001), timeout=60) as app,
        accept(listener) as accepted,
    ):
        liveness.end_in_order(accepted)
        accepted.close()
        assert app.recv(1) == b""
    assert [found.local[1] for found in diag.sockets([diag.TIME_WAIT])] == [15001]
    with pytest.raises(OSError, match="in use"):
        squat(address)
    sockets.listener("ingress", "ipv4", 15001, MARK).close()


def test_a_port_that_somebody_listens_on_is_not_taken_from_him(client: Host) -> None:
    with (
        socket.create_server(("127.0.0.1", 15001)) as other,
        socket.create_connection(("127.0.0.1", 15001), timeout=60) as app,
        accept(other) as accepted,
    ):
        with pytest.raises(HostError, match="in use"):
            sockets.listener("ingress", "ipv4", 15001, MARK)
        accepted.sendall(b"still here")
        assert app.recv(100) == b"still here"
