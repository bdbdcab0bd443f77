"""What passes by a capture of TCP: packets that the host forwards for containers and guests, and UDP.

The guest (10.88.0.2, fd88::2) hangs behind the host, which forwards for it, as for a container or a virtual machine.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from packets.attack import (
    BACKENDS,
    DEADLINE,
    HOST,
    LOOPBACK,
    MARK,
    PEER,
    Scene,
    cable,
    index_of,
    made,
    namespace,
    scene,
    spoken,
    sysctl,
    wire,
)
from packets.forge import SYN, send_segment
from packets.make import config, entry
from packets.wire import FAMILIES, SECRET
from tng_compiler.model.types import Config, Ipv6Mode, Role
from tng_demo.lab import Host

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

GUEST = {"ipv4": "10.88.0.2", "ipv6": "fd88::2"}
ROUTER = {"ipv4": "10.88.0.1", "ipv6": "fd88::1"}
NETWORK = {"ipv4": "10.88.0.0/24", "ipv6": "fd88::/64"}
INGRESS = config(entry("ingress", 0, [{"port": 8080}]))
TO_NETWORK = config(entry("ingress", 0, [{"host": "10.77.0.0/24"}, {"host": "fd77::/64"}]))
EVERYTHING = config(entry("ingress", 0, []))
EGRESS = config(entry("egress", 0, [{"port": 8080}]))
BYPASS_FORWARDED: dict[str, Any] = {"forwarded": "bypass"}
BYPASS_UDP: dict[str, Any] = {"udp": "bypass"}

MASQUERADE = """table inet container {
  chain out { type nat hook postrouting priority 100; iifname "guest" oifname "eth0" masquerade; };
}"""


def led_to(ipv4: str, ipv6: str) -> str:
    """A chain of another table that leads port 5000 of the host to port 8080 of ``ipv4`` and ``ipv6``."""
    rules = "".join(
        f"fib daddr type local {protocol} dport 5000 dnat {family} to {address}:8080; "
        for protocol in ("tcp", "udp")
        for family, address in (("ip", ipv4), ("ip6", f"[{ipv6}]"))
    )
    return f"chain in {{ type nat hook prerouting priority -100; {rules} }};"


# As Docker publishes port 5000 of the host for the container's port 8080.
PUBLISH = f"table inet container {{ {led_to('10.88.0.2', 'fd88::2')} }}"


@contextlib.contextmanager
def guest_of(built: Scene) -> Iterator[Host]:
    """A guest behind the host, with services like everybody's, and the host forwards for it."""
    with namespace(built, "guest") as guest:
        cable(built.host, "guest", guest, "eth0")
        for host, device, addresses in ((built.host, "guest", ROUTER), (guest, "eth0", GUEST)):
            for family, length in (("ipv4", 24), ("ipv6", 64)):
                extra = ("nodad",) if family == "ipv6" else ()
                host.run("ip", "addr", "add", f"{addresses[family]}/{length}", "dev", device, *extra)
            host.run("ip", "link", "set", device, "up")
        for family in FAMILIES:
            guest.run("ip", f"-{family[-1]}", "route", "add", "default", "via", ROUTER[family])
            built.peer.run("ip", f"-{family[-1]}", "route", "add", NETWORK[family], "via", HOST[family])
            for port in (8080, 9000):
                built.responder.listen(guest, family, port, proxy=False)
        sysctl(built.host, ipv4__ip_forward="1", ipv6__conf__all__forwarding="1")
        yield guest


@contextlib.contextmanager
def datagrams(host: Host, family: str, port: int) -> Iterator[socket.socket]:
    """A UDP service, which has to be asked for what has reached it."""
    with made(host, family, kind=socket.SOCK_DGRAM) as sock:
        sock.bind(("", port))
        yield sock


def asked(sock: socket.socket, service: socket.socket, address: str, port: int) -> str:
    """Send a datagram, and close: ``answered`` by the service, ``refused`` by an ICMP error, or ``silence``."""
    with sock:
        try:
            sock.connect((address, port))
            with contextlib.suppress(PermissionError):  # a datagram that does not leave may fail its send as well
                sock.send(SECRET)
            readable, _, _ = select.select([sock, service], [], [], DEADLINE)
            if service in readable:
                service.sendto(b"an answer", service.recvfrom(100)[1])
            return "answered" if sock.recv(100) == b"an answer" else "garbled"
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silence"


def udp(host: Host, family: str, mark: int = 0) -> socket.socket:
    """A UDP socket on ``host``."""
    return made(host, family, mark, socket.SOCK_DGRAM)


def ask(sender: Host, receiver: Host, family: str, address: str, port: int, mark: int = 0) -> str:
    """What becomes of a datagram to a service that waits for it on ``receiver``."""
    with datagrams(receiver, family, port) as service:
        return asked(udp(sender, family, mark), service, address, port)


TO_HOSTS = config(entry("ingress", 0, [{"host": "10.77.0.2", "port": 8080}, {"host": "fd77::2", "port": 8080}]))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("table", ["", MASQUERADE], ids=["routed", "masqueraded"])
@pytest.mark.parametrize("document", [INGRESS, TO_HOSTS], ids=["by_port", "by_host"])
@pytest.mark.parametrize("family", FAMILIES)
def test_109_what_is_forwarded_to_a_captured_destination_is_refused(
    family: str, document: Config, table: str, backend: str
) -> None:
    """Rules of before: it passes in plaintext, TCP and UDP alike, while the host's own is captured."""
    with scene(document, backend) as built, guest_of(built) as guest, wire(built) as left:
        built.table(table)
        built.load()
        assert spoken(made(guest, family), PEER[family], 9000) == "passed 9000"
        assert ask(guest, built.peer, family, PEER[family], 9000) == "answered"
        seen = len(left.seen())
        assert spoken(made(guest, family), PEER[family], 8080, words=SECRET) == "refused"
        assert ask(guest, built.peer, family, PEER[family], 8080) == "refused"
        assert not any(SECRET in frame for frame in left.seen()[seen:])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_109_what_is_forwarded_passes_if_the_document_says_so(family: str, backend: str) -> None:
    """What the host forwards and its own UDP are two questions, and its own TCP is captured in any case."""
    document = config(entry("ingress", 0, [{"port": 8080}], **BYPASS_FORWARDED))
    with scene(document, backend) as built, guest_of(built) as guest:
        built.load()
        assert spoken(made(guest, family), PEER[family], 8080) == "passed 8080"
        assert ask(guest, built.peer, family, PEER[family], 8080) == "answered"
        assert ask(built.host, built.peer, family, PEER[family], 8080) == "refused"
        assert spoken(made(built.host, family), PEER[family], 8080).startswith("captured 15001")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("before", ["untracked", "masqueraded", "spoofed"])
@pytest.mark.parametrize("first", ["client", "service"])
@pytest.mark.parametrize("family", FAMILIES)
def test_109_an_older_forwarded_connection_does_not_go_on(family: str, first: str, before: str, backend: str) -> None:
    """Rules of before: it does, whoever speaks first. ``spoofed``: after a SYN in the name of the service."""
    with scene(INGRESS, backend) as built, guest_of(built) as guest, wire(built) as left:
        built.table(MASQUERADE if before == "masqueraded" else "")
        with made(guest, family) as older:
            older.connect((PEER[family], 8080))
            older.send(b"hello")
            assert older.recv(100) == b"passed 8080"
            built.load()
            if before == "spoofed":
                source, target = (PEER[family], 8080), (GUEST[family], older.getsockname()[1])
                send_segment(built.peer, built.host, source, target, SYN)
            if first == "service":
                (far,) = built.responder.accepted.values()
                far.connection.send(b"more")
            assert spoken(made(guest, family), PEER[family], 9000) == "passed 9000", "what came before has arrived"
            with contextlib.suppress(OSError):
                older.send(SECRET)
            assert not left.carried(SECRET)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("document", [EGRESS, EVERYTHING, TO_NETWORK], ids=["egress", "everything", "to_network"])
@pytest.mark.parametrize("family", FAMILIES)
def test_109_the_published_port_of_a_container_is_served(family: str, document: Config, backend: str) -> None:
    """Another table's DNAT at -100, for a guest whose own port is a captured one; answers go to a captured network.

    Holds on the rules of before as well: what a guard on the forward hook must not break.
    """
    with scene(document, backend) as built, guest_of(built) as guest:
        built.table(PUBLISH)
        built.load()
        with made(built.peer, family) as client:
            client.connect((HOST[family], 5000))
            client.send(b"hello")
            assert client.recv(100) == b"passed 8080"
            (far,) = built.responder.accepted.values()
            for _ in range(3):
                far.connection.send(SECRET)
                assert client.recv(100) == SECRET
        with datagrams(guest, family, 8080) as service:
            assert asked(udp(built.peer, family), service, HOST[family], 5000) == "answered"


# As a router's port forwarding, or a NodePort whose pod is on another node.
ELSEWHERE = f"""table inet router {{
  {led_to("10.77.0.2", "fd77::2")}
  chain out {{ type nat hook postrouting priority 100; oifname "wan" masquerade; }};
}}"""


@pytest.mark.parametrize("document", [EVERYTHING, INGRESS, TO_NETWORK], ids=["everything", "by_port", "to_network"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_that_leads_to_a_captured_destination_elsewhere_is_refused(family: str, document: Config) -> None:
    """Rules of before: it passes in plaintext as if it were a container's, for containers and neighbours alike.

    The way to the peer is not like one to a guest, as the test's cables are: a macvlan interface upon them.
    """
    with scene(document) as built, guest_of(built) as guest, wire(built) as left:
        built.host.run("ip", "link", "add", "link", "eth0", "name", "wan", "type", "macvlan", "mode", "bridge")
        built.host.run("ip", "link", "set", "wan", "up")
        built.host.run("ip", "addr", "add", f"{HOST['ipv4']}/32", "dev", "wan")
        built.host.run("ip", "addr", "add", f"{HOST['ipv6']}/128", "dev", "wan", "nodad")
        for each, length in (("ipv4", 32), ("ipv6", 128)):
            built.host.run("ip", "route", "add", f"{PEER[each]}/{length}", "dev", "wan")
        built.table(ELSEWHERE)
        assert spoken(made(guest, family), ROUTER[family], 5000) == "passed 8080", "before the rules"
        built.load()
        for sender, address in ((guest, ROUTER), (built.peer, HOST)):
            assert spoken(made(sender, family), address[family], 5000, words=SECRET) == "refused"
        with datagrams(built.peer, family, 8080) as service:
            assert asked(udp(guest, family), service, ROUTER[family], 5000) == "refused"
        assert not left.carried(SECRET)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("document", [INGRESS, TO_HOSTS], ids=["by_port", "by_host"])
@pytest.mark.parametrize("family", FAMILIES)
def test_110_udp_to_a_captured_destination_is_refused(family: str, document: Config, backend: str) -> None:
    """So that HTTP/3 falls back to TCP. Rules of before: it passes in plaintext."""
    with scene(document, backend) as built, wire(built) as left:
        built.load()
        host, peer = built.host, built.peer
        assert ask(host, peer, family, PEER[family], 8080) == "refused"
        assert not left.carried(SECRET)
        assert ask(host, peer, family, PEER[family], 9000) == "answered"
        assert ask(host, peer, family, PEER[family], 8080, MARK) == "answered", "a socket of ours"
        for address in (HOST[family], LOOPBACK[family]):
            assert ask(host, host, family, address, 8080) == "answered", "what the host sends to itself"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_capture_of_everything_spares_dns_and_answers(family: str, backend: str) -> None:
    """Rules of before: all UDP passes."""
    with scene(EVERYTHING, backend) as built:
        built.load()
        assert ask(built.host, built.peer, family, PEER[family], 443) == "refused"
        assert ask(built.host, built.peer, family, PEER[family], 53) == "answered"
        assert ask(built.peer, built.host, family, HOST[family], 53) == "answered", "a name server on this host"
        assert ask(built.peer, built.host, family, HOST[family], 443) == "answered", "a QUIC server on this host"
        assert ask(built.host, built.host, family, LOOPBACK[family], 443) == "answered"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_110_udp_that_arrives_at_a_captured_port_is_refused(family: str, backend: str) -> None:
    """On an egress. Rules of before: it reaches a service that is to be reached by attested peers alone."""
    with scene(EGRESS, backend) as built:
        built.load()
        with datagrams(built.host, family, 8080) as service:
            assert asked(udp(built.peer, family), service, HOST[family], 8080) == "refused"
            assert asked(udp(built.host, family), service, HOST[family], 8080) == "answered", "from this host itself"
        assert ask(built.peer, built.host, family, HOST[family], 9000) == "answered"
        assert ask(built.host, built.peer, family, PEER[family], 8080) == "answered", "to somebody else's port"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_egress_of_every_port_hears_the_answers_to_its_host(family: str, backend: str) -> None:
    """Rules of before: what arrives unasked is not refused either."""
    with scene(config(entry("egress", 0, [])), backend) as built:
        built.load()
        assert ask(built.peer, built.host, family, HOST[family], 443) == "refused"
        assert ask(built.host, built.peer, family, PEER[family], 53) == "answered"
        assert ask(built.host, built.peer, family, PEER[family], 123) == "answered"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("role", ["ingress", "egress"])
@pytest.mark.parametrize("family", FAMILIES)
def test_110_udp_passes_if_the_document_says_so(family: str, role: Role, backend: str) -> None:
    """What is forwarded stays refused: it is another question, and TCP is captured in any case."""
    with scene(config(entry(role, 0, [{"port": 8080}], **BYPASS_UDP)), backend) as built, guest_of(built) as guest:
        built.load()
        here, there = (built.host, built.peer) if role == "ingress" else (built.peer, built.host)
        address = (PEER if role == "ingress" else HOST)[family]
        assert ask(here, there, family, address, 8080) == "answered"
        assert spoken(made(here, family), address, 8080).startswith("captured 1")
        if role == "ingress":
            assert spoken(made(guest, family), PEER[family], 8080) == "refused"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("mode", "expected"), [("reject", "refused"), ("bypass", "answered")])
def test_udp_follows_what_an_entry_does_with_ipv6(mode: Ipv6Mode, expected: str, backend: str) -> None:
    """Rules of before: all UDP passes, that of IPv6 and of IPv4."""
    with scene(config(entry("ingress", 0, [{"port": 8080}], ipv6=mode)), backend) as built:
        built.load()
        assert ask(built.host, built.peer, "ipv6", PEER["ipv6"], 8080) == expected
        assert ask(built.host, built.peer, "ipv4", PEER["ipv4"], 8080) == "refused"


@pytest.mark.parametrize("backend", BACKENDS)
def test_multicast_and_broadcast_leave(backend: str) -> None:
    """They are never captured, so there is nothing to fall back to. Holds on the rules of before as well."""
    with scene(EVERYTHING, backend) as built, wire(built) as left:
        built.load()
        with udp(built.host, "ipv4") as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST["ipv4"]))
            for number, address in enumerate(("224.0.0.251", "10.77.0.255")):
                sock.sendto(b"to everybody %d" % number, (address, 5353))
                assert left.carried(b"to everybody %d" % number)
        with udp(built.host, "ipv6") as sock:
            sock.sendto(b"to everybody 6", ("ff02::fb", 5353, 0, index_of(built.host)))
            assert left.carried(b"to everybody 6")
