"""A router whose far side carries 1280 bytes and that says nothing of it, between the two gateways."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from runtime.tunnels import CAPTURE, NO_RA, PORT, RUNTIME, compiled
from tng_demo.lab import Lab, lab
from tng_demo.process import Process

pytestmark = pytest.mark.netns

PATIENCE = 30.0
BULK = bytes(range(256)) * 4096
NARROW = 1280
_SILENT = (
    "table inet silent { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }; }"
)

_SILENT_IPV6 = (
    "table inet silent { chain out { type filter hook output priority 0; "
    "icmpv6 type { packet-too-big, nd-redirect } drop; }; }"
)


@pytest.fixture
def narrow() -> Iterator[Lab]:
    with lab("client", "router", "server") as hosts:
        router = hosts["router"]
        router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        for where in ("all", "eth0"):
            router.run("sysctl", "-qw", f"net.ipv4.conf.{where}.send_redirects=0")
        router.run("nft", "-f", "-", stdin=_SILENT)
        for one, other in (("client", "server"), ("server", "client")):
            there = f"{hosts[other].ipv4}/32"
            hosts[one].run("ip", "route", "add", there, "via", router.ipv4)
            router.run("ip", "route", "add", there, "dev", "eth0", "mtu", "lock", str(NARROW))
        yield hosts


def connected(hosts: Lab, address: str) -> socket.socket:
    with hosts["client"].inside():
        sock = socket.create_connection((address, PORT), timeout=PATIENCE)
    sock.settimeout(PATIENCE)
    return sock


def test_the_path_is_as_it_is_meant(narrow: Lab) -> None:
    """A direct connection carries little, and nothing that is larger."""
    is_narrow(narrow, narrow["server"].ipv4)


def test_the_path_of_ipv6_is_as_it_is_meant(narrow_ipv6: Lab) -> None:
    """The same."""
    is_narrow(narrow_ipv6, narrow_ipv6["server"].ipv6)


def is_narrow(narrow: Lab, address: str) -> None:
    with narrow["server"].inside():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, PORT), family=family)
    with listener, connected(narrow, address) as near, listener.accept()[0] as far:
        far.settimeout(PATIENCE)
        near.sendall(b"little")
        assert far.recv(100) == b"little"
        far.settimeout(3)
        near.sendall(bytes(1400))
        with pytest.raises(TimeoutError):
            far.recv(2000)


@pytest.fixture
def narrow_ipv6() -> Iterator[Lab]:
    with lab("client", "router", "server") as hosts:
        router = hosts["router"]
        router.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        router.run("nft", "-f", "-", stdin=_SILENT_IPV6)
        for one, other in (("client", "server"), ("server", "client")):
            there = f"{hosts[other].ipv6}/128"
            hosts[one].run("ip", "route", "add", there, "via", router.ipv6)
            router.run("ip", "route", "add", there, "dev", "eth0", "mtu", "lock", str(NARROW))
        yield hosts


def test_the_tunnel_gets_through_where_large_packets_are_lost(narrow: Lab) -> None:
    """The hello, the certificate, and bulk in both directions."""
    gets_through(narrow, narrow["server"].ipv4)


def test_the_tunnel_gets_through_where_large_packets_of_ipv6_are_lost(narrow_ipv6: Lab) -> None:
    """Direct connections of small packets do; the tunnel is dialled once more, of small segments."""
    ingress = gets_through(narrow_ipv6, narrow_ipv6["server"].ipv6)
    assert "refused" not in ingress.output()


def gets_through(narrow: Lab, address: str) -> Process:
    client = compiled(narrow["client"], {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    server = compiled(narrow["server"], {"add_egress": [{"netfilter": CAPTURE, **NO_RA}]})
    with narrow["server"].inside():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, PORT), family=family)
    listener.settimeout(PATIENCE)
    for host, directory in (("server", server), ("client", client)):
        run = narrow[host].start(RUNTIME, "run", str(directory))
        run.wait_for(r"\bevent=serving\b")
    with listener, connected(narrow, address) as near:
        near.sendall(b"little")
        with listener.accept()[0] as far:
            far.settimeout(PATIENCE)
            assert far.recv(100) == b"little"
            for speaker, hearer in ((near, far), (far, near)):
                speaking = threading.Thread(target=speaker.sendall, args=(BULK,))
                speaking.start()
                got = bytearray()
                while len(got) < len(BULK):
                    got += hearer.recv(1 << 20)
                speaking.join(PATIENCE)
                assert got == BULK
    return run
