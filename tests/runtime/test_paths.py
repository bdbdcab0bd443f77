"""A router whose far side carries 1280 bytes and that says nothing of it, between the two gateways."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from runtime.test_app import CAPTURE, NO_RA, PORT, RUNTIME, compiled
from tng_demo.lab import Lab, lab

pytestmark = pytest.mark.netns

PATIENCE = 30.0
BULK = bytes(range(256)) * 4096
NARROW = 1280
_SILENT = (
    "table inet silent { chain out { type filter hook output priority 0; icmp type destination-unreachable drop; }; }"
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


def connected(hosts: Lab) -> socket.socket:
    with hosts["client"].inside():
        sock = socket.create_connection((hosts["server"].ipv4, PORT), timeout=PATIENCE)
    sock.settimeout(PATIENCE)
    return sock


def test_the_path_is_as_it_is_meant(narrow: Lab) -> None:
    """A direct connection carries little, and nothing that is larger."""
    with narrow["server"].inside():
        listener = socket.create_server((narrow["server"].ipv4, PORT))
    with listener, connected(narrow) as near, listener.accept()[0] as far:
        far.settimeout(3)
        near.sendall(b"little")
        assert far.recv(100) == b"little"
        near.sendall(bytes(1400))
        with pytest.raises(TimeoutError):
            far.recv(2000)


def test_the_tunnel_gets_through_where_large_packets_are_lost(narrow: Lab) -> None:
    """The hello, the certificate, and bulk in both directions."""
    client = compiled(narrow["client"], {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    server = compiled(narrow["server"], {"add_egress": [{"netfilter": CAPTURE, **NO_RA}]})
    with narrow["server"].inside():
        listener = socket.create_server((narrow["server"].ipv4, PORT))
    listener.settimeout(PATIENCE)
    for host, directory in (("server", server), ("client", client)):
        narrow[host].start(RUNTIME, "run", str(directory)).wait_for(r"\bevent=serving\b")
    with listener, connected(narrow) as near:
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
