"""Neighbours on the link who try to get at plaintext: by addresses, by spoofed segments, by frames for loopback."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

import pytest

from packets.attack import (
    BACKENDS,
    DEADLINE,
    HOST,
    LOOPBACK,
    PEER,
    Scene,
    await_until,
    conntrack,
    made,
    scene,
    spoken,
    sysctl,
    wire,
)
from packets.forge import ACK, SYN, advertise, send_segment
from packets.make import Destination, config, entry
from packets.wire import FAMILIES, SECRET, held, place

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

ANYCAST = "fd77::4"
BY_PORT: list[Destination] = [{"port": 8080}]
BY_HOST: list[Destination] = [{"host": "fd77::/64"}, {"host": "10.77.0.0/24"}]
EGRESS = config(entry("egress", 0, [{"port": 8080}]))


def become_anycast(built: Scene, prefix: str, how: str) -> None:
    """Make the first address of ``prefix`` one that the host's routes take for anycast (net/ipv6/ip6_fib.h)."""
    if how == "advertised":
        advertise(built.peer, prefix)
    else:
        words = ("add", "anycast") if ":" not in prefix else ("add",)
        built.host.run("ip", "route", *words, prefix, "dev", "eth0")
        return
    await_until(f"a route to {prefix}", lambda: prefix in built.host.run("ip", "-6", "route", "show").stdout)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dst", [BY_PORT, BY_HOST], ids=["by_port", "by_host"])
@pytest.mark.parametrize(("address", "prefix", "how"), [
    ("fd77::4", "fd77::4/126", "advertised"),
    ("fd78::", "fd78::/64", "advertised"),
    ("fd78::8", "fd78::8/125", "static"),
    ("10.78.0.2", "10.78.0.2", "static"),
])  # fmt: skip
def test_101_an_anycast_destination_is_captured(
    backend: str, dst: list[Destination], address: str, prefix: str, how: str
) -> None:
    """Rules of before: ``passed 8080`` and the words on the wire: the exemption named anycast."""
    reach = [*dst, {"host": "fd78::/64"}, {"host": "10.78.0.2"}] if "host" in dst[0] else dst
    family = "ipv6" if ":" in address else "ipv4"
    with scene(config(entry("ingress", 0, reach)), backend) as built, wire(built) as cable:
        built.peer.run("ip", "addr", "add", address, "dev", "eth0", *(("nodad",) if family == "ipv6" else ()))
        built.load()
        become_anycast(built, prefix, how)
        captured = f"captured 15001 {place(family, address, 8080)}"
        assert spoken(made(built.host, family), address, 8080, words=SECRET) == captured
        assert not cable.carried(SECRET)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("speaks", ["service", "client"])
def test_101_answers_to_an_anycast_client_of_an_egress_do_not_leave(backend: str, speaks: str) -> None:
    """A connection older than the rules. Rules of before: what the service says arrives, in plaintext."""
    with scene(EGRESS, backend) as built, wire(built) as cable:
        built.peer.run("ip", "addr", "add", f"{ANYCAST}/128", "dev", "eth0", "nodad")
        near = made(built.peer, "ipv6")
        near.bind((ANYCAST, 0))
        with held(built.responder, near, HOST["ipv6"], 8080) as (client, far):
            built.load()
            become_anycast(built, f"{ANYCAST}/126", "advertised")
            if speaks == "client":
                client.send(b"a question")
                assert not built.responder.wait_until(far, b"a question"), "it reached a service that is captured"
            with contextlib.suppress(OSError):
                far.connection.send(SECRET)
            assert not cable.carried(SECRET)


def spoof(built: Scene, family: str, port: int, flags: Sequence[int] = (SYN,)) -> None:
    """Send segments in the name of the captured server to a port of the host, and await that it has taken them."""
    for one in flags:
        send_segment(built.peer, built.host, (PEER[family], 8080), (HOST[family], port), one)
    assert spoken(made(built.peer, family), HOST[family], 22) == "passed 22", "what comes after it has been served"


BY_NETWORK = config(entry("ingress", 0, [{"host": "10.77.0.0/24"}, {"host": "fd77::/64"}]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("flags", [(SYN,), (SYN, ACK, ACK), (SYN, SYN | ACK, ACK)], ids=["syn", "ack", "syn_ack"])
@pytest.mark.parametrize("family", FAMILIES)
def test_102_a_spoofed_syn_does_not_release_an_older_connection(
    family: str, flags: Sequence[int], backend: str
) -> None:
    """Rules of before: connection tracking takes the application's packets for replies, and they leave."""
    with (
        scene(BY_NETWORK, backend) as built,
        wire(built) as cable,
        held(built.responder, made(built.host, family), PEER[family], 8080) as (app, far),
    ):
        built.load()
        spoof(built, family, app.getsockname()[1], flags)
        with contextlib.suppress(OSError):
            app.send(SECRET)
        assert not cable.carried(SECRET)
        assert bytes(far.received) == b"hello"


# The server's own stack would answer the application's ACK with a reset: who spoofs it sees to its silence.
SILENT = "table inet silent { chain output { type filter hook output priority 0; tcp flags & rst == rst drop; }; }"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_102_a_spoofed_syn_does_not_release_a_pooled_connection(family: str, backend: str) -> None:
    """It was captured, the runtime was killed, connection tracking has forgotten it, and the application writes again.

    Rules of before: what it writes is a reply to the spoofed SYN, and is on the wire.
    """
    with scene(BY_NETWORK, backend, listeners=False) as built, wire(built) as cable:
        built.load()
        sysctl(built.host, netfilter__nf_conntrack_tcp_timeout_close_wait="1")
        built.listen()
        with made(built.host, family) as app:
            app.connect((PEER[family], 8080))
            app.send(b"hello")
            assert app.recv(200).startswith(b"captured 15001")
            port = app.getsockname()[1]
            built.responder.conversation((HOST[family], port)).connection.shutdown(socket.SHUT_RDWR)
            await_until("forgotten", lambda: f"sport={port} " not in conntrack(built.host))
            built.peer.run("nft", "-f", "-", stdin=SILENT)
            spoof(built, family, port)
            with contextlib.suppress(OSError):
                app.send(SECRET)
            assert not cable.carried(SECRET)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("first", ["client", "service"])
@pytest.mark.parametrize("family", FAMILIES)
def test_102_who_comes_in_from_a_captured_network_is_served(family: str, first: str, backend: str) -> None:
    """Holds on the rules of before as well: what a repair of the replies must not break, data in both directions."""
    with scene(BY_NETWORK, backend) as built:
        built.load()
        with made(built.host, family) as listener, made(built.peer, family) as client:
            listener.bind(("", 2222))
            listener.listen()
            client.connect((HOST[family], 2222))
            service, _ = listener.accept()
            with service:
                service.settimeout(DEADLINE)
                ends = (client, service) if first == "client" else (service, client)
                for speaker, hearer in (ends, ends[::-1], ends, ends[::-1]):
                    speaker.send(SECRET)
                    assert hearer.recv(100) == SECRET


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("routed", [False, True], ids=["", "route_localnet"])
@pytest.mark.parametrize("family", FAMILIES)
def test_103_frames_for_loopback_are_not_captured(family: str, routed: bool, backend: str) -> None:
    """Rules of before: 127.0.0.1 becomes an address of the link before the kernel's martian check, and is answered.

    For ::1 the kernel drops the frame ahead of every hook (ip6_rcv_core of net/ipv6/ip6_input.c).
    """
    with scene(EGRESS, backend) as built, wire(built) as cable:
        if routed:
            built.host.run("sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
        built.load()
        for port in (8080, 16001):
            send_segment(built.peer, built.host, (PEER[family], 4242), (LOOPBACK[family], port), SYN)
        assert spoken(made(built.peer, family), HOST[family], 8080).startswith("captured 16001"), "the rules work"
        answers = [flags for port in (8080, 16001) for flags in cable.segments(LOOPBACK[family], port)]
        answers += cable.segments(HOST[family], 16001)
        assert not [flags for flags in answers if flags & SYN]


def send_fast(sock: socket.socket, address: str, port: int, words: bytes) -> None:
    """Put ``words`` into the SYN (RFC 7413), as a client does that needs no cookie; the answer is not awaited."""
    sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, 1)
    sock.setblocking(False)
    with contextlib.suppress(OSError):
        sock.sendto(words, socket.MSG_FASTOPEN, (address, port))


TCP_FASTOPEN_NO_COOKIE = 34  # linux/tcp.h


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("target", ["captured", "loopback", "loopback_elsewhere"])
@pytest.mark.parametrize("family", FAMILIES)
def test_104_nothing_for_loopback_leaves_by_a_device(family: str, target: str, backend: str) -> None:
    """A socket bound to a device, with data in its SYN. Rules of before: the data is on the wire."""
    address, port = PEER[family] if target == "captured" else LOOPBACK[family], 22 if "else" in target else 8080
    with scene(config(entry("ingress", 0, BY_PORT)), backend) as built, wire(built) as cable:
        built.host.run("ip", f"-{family[-1]}", "route", "add", "default", "via", PEER[family], "dev", "eth0")
        built.load()
        with made(built.host, family) as bound, made(built.host, family) as free:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
            send_fast(bound, address, port, SECRET)
            assert spoken(free, PEER[family], 22) == "passed 22", "the neighbour's hardware address is known"
            with made(built.host, family) as again:
                again.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")
                send_fast(again, address, port, SECRET)
                assert not cable.carried(SECRET)
