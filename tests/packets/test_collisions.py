"""One port after another: the application's connection and our own dial have the same addresses and ports.

Connection tracking remembers a connection for a while after its end (10 s after a reset), and whose it was decides what
happens to the next with the same ports. So our own are remembered in a zone of their own.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from packets.attack import BACKENDS, DEADLINE, MARK, PEER, Scene, from_port, made, rendered, scene
from packets.cgroups import cgroups, socket_in, with_cgroups
from packets.make import config, entry
from packets.wire import FAMILIES, SECRET

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

INGRESS = config(entry("ingress", 0, [{"port": 7000}]))
PORT = 40000
ENDS = ["reset", "reset_half_closed", "reset_with_data_unread", "closed"]


@dataclass(frozen=True, slots=True)
class Takers:
    """Who can accept a connection to the captured destination."""

    listener: socket.socket
    service: socket.socket
    target: tuple[str, int]

    def connect(self, sock: socket.socket) -> tuple[str, socket.socket | None]:
        """Connect, and return who has accepted: ``captured``, ``passed``, or nobody (``refused``), with that end."""
        try:
            sock.connect(self.target)
        except OSError:
            return "refused", None
        readable, _, _ = select.select([self.listener, self.service], [], [], DEADLINE)
        if not readable:
            return "nobody", None
        accepted, _ = readable[0].accept()
        accepted.settimeout(DEADLINE)
        return "captured" if readable[0] is self.listener else "passed", accepted


@contextlib.contextmanager
def takers(built: Scene, family: str) -> Iterator[Takers]:
    """A listener of ours on the host, and a service on the peer."""
    with made(built.host, family, MARK) as listener, made(built.peer, family) as service:
        for sock, port in ((listener, 15001), (service, 7000)):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", port))
            sock.listen()
        yield Takers(listener, service, (PEER[family], 7000))


def ended(found: Takers, sock: socket.socket, how: str) -> str:
    """Connect from ``sock`` and have the other side end it in one of the ways of ``ENDS``; who it was."""
    with sock:
        taken, far = found.connect(sock)
        if far is None:
            return taken
        with far:
            sock.send(SECRET)
            if how != "reset_with_data_unread":
                assert far.recv(100) == SECRET
            if how == "reset_half_closed":
                sock.shutdown(socket.SHUT_WR)
                assert far.recv(100) == b""
            if how != "closed":
                far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(100) == b""
    return taken


def talks(found: Takers, sock: socket.socket) -> str:
    """Connect, exchange words in both directions, and return who it was with."""
    with sock:
        taken, far = found.connect(sock)
        if far is not None:
            with far:
                for speaker, hearer in ((sock, far), (far, sock)):
                    speaker.send(SECRET)
                    assert hearer.recv(100) == SECRET
        return taken


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_application_is_captured_from_a_port_of_our_dial(family: str, how: str, backend: str) -> None:
    """Rules of before: after a reset the guard refuses it, for its packets belong to a connection of ours.

    After an orderly end, or one of each kind, connection tracking forgets in time, and this held before as well.
    """
    with scene(INGRESS, backend, listeners=False) as built, takers(built, family) as found:
        built.load()
        for _ in range(2):
            assert ended(found, from_port(built.host, family, PORT, MARK), how) == "passed"
            assert talks(found, from_port(built.host, family, PORT)) == "captured"


TREE = f"tng-test-{os.getpid()}"
APP, OTHER = f"{TREE}/app", f"{TREE}/other"
BY_CGROUP = config(
    entry("ingress", 0, [{"port": 7000}], cgroup=[APP]), entry("ingress", 1, [{"port": 7000}], so_mark=MARK + 1)
)


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_that_was_another_cgroups_meets_its_own_entry(family: str, how: str) -> None:
    """Rules of before: after a reset it is led to the other entry's listener, whose trust may be another.

    iptables has no timeouts of single connections: there it is so.
    """
    with (
        cgroups(APP, OTHER),
        scene(BY_CGROUP, listeners=False) as built,
        takers(built, family) as first,
        made(built.host, family, MARK + 1) as listener,
    ):
        listener.bind(("", 15002))
        listener.listen()
        text = rendered(built) + f'add element inet tng known_cgroups_2 {{ "{APP}", "{OTHER}" }}\n'
        built.host.run(*with_cgroups(["nft", "-f", "-"]), stdin=text)
        second = Takers(listener, first.service, first.target)

        def of(cgroup: str) -> socket.socket:
            sock = socket_in(built.host, cgroup, FAMILIES[family])
            sock.settimeout(DEADLINE)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("", PORT))
            return sock

        for _ in range(2):
            for cgroup, found in ((OTHER, second), (APP, first)):
                assert ended(found, of(cgroup), how) == "captured"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_our_dial_from_a_port_of_an_application_reaches_the_service(family: str, how: str, backend: str) -> None:
    """Rules of before: after a reset it is redirected to our own listener, as the application's connection was.

    After an orderly end, or one of each kind, this held before as well.
    """
    with scene(INGRESS, backend, listeners=False) as built, takers(built, family) as found:
        built.load()
        for _ in range(2):
            assert ended(found, from_port(built.host, family, PORT), how) == "captured"
            assert talks(found, from_port(built.host, family, PORT, MARK)) == "passed"
