"""What becomes of a captured connection before the relay: loops, clients that left, peers that reset at once.

The rules are real, and so is every socket; the sessions run in the test's own loop.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio
import pytest

from runtime.relay.peers import floor, wait_until
from tng_demo.lab import Host, Lab
from tng_runtime.accept.lifecycle import Event
from tng_runtime.accept.limits import Handshakes
from tng_runtime.counts import Counts
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.events import Events
from tng_runtime.kernel import nftables, sockets
from tng_runtime.kernel.dialling import Dialler
from tng_runtime.kernel.liveness import Liveness, carry_for_others
from tng_runtime.kernel.own import OwnConnections
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import ClientLeftError, Destination
from tng_runtime.manifest import Entry, Family, Role
from tng_runtime.relay import raw
from tng_runtime.relay.link import Relay
from tng_runtime.relay.session import Sessions
from tng_runtime.tunnel.handshake import Door
from tng_runtime.tunnel.identity import throwaway_identity

pytestmark = [pytest.mark.netns, pytest.mark.anyio]

MARK = 565
# As if another table had taken the mark from our own packets.
ALL = "table inet tng {\n chain c {\n type nat hook output priority -105\ntcp dport 8080 redirect to :15001\n}\n}"
FAMILIES: tuple[Family, ...] = ("ipv4", "ipv6")


@dataclass
class Entrance:
    """Sessions of an entry with a poller of their own, and what was accepted for them."""

    entry: Entry
    sessions: Sessions
    poller: Poller
    counts: Counts
    own: OwnConnections
    accepted: int = 0
    served: list[str] = field(default_factory=list)

    async def serve(self, listener: socket.socket, group: anyio.abc.TaskGroup) -> None:
        """Accept and serve until cancelled."""
        while True:
            await anyio.wait_readable(listener)
            captured, _ = listener.accept()
            captured.setblocking(False)
            self.accepted += 1
            group.start_soon(self.sessions.serve, captured)


@asynccontextmanager
async def entrance(role: Role) -> AsyncIterator[Entrance]:
    entry = Entry(f"/add_{role}/0", role, 15001, MARK, FAMILIES, None, None)
    poller, counts, own, identity = Poller(), Counts(), OwnConnections(), throwaway_identity()
    await identity.start()
    door = Door("client" if role == "ingress" else "server", identity, None, poller)
    try:
        yield Entrance(
            entry,
            raw.sessions(entry, door, Relay(poller), poller, Events(counts), own, Handshakes(1000, print)),
            poller,
            counts,
            own,
        )
    finally:
        poller.close()


@pytest.fixture
def client(hosts: Lab) -> Iterator[Host]:
    with hosts["client"].inside():
        yield hosts["client"]


@contextmanager
def listening(family: Family) -> Iterator[socket.socket]:
    listener = sockets.listener("ingress", family, 15001, 565)
    with listener:
        yield listener


def connect(host: str) -> socket.socket:
    sock = socket.create_connection((host, 8080), timeout=20)
    sock.settimeout(20)
    return sock


def forget_resets_soon() -> None:
    """After a second instead of ten."""
    with open("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close", "w", encoding="ascii") as file:
        file.write("1")


def tracked() -> bool:
    """Whether this host's connection tracking knows a connection to the captured port."""
    with open("/proc/thread-self/net/nf_conntrack", encoding="ascii") as file:
        return any(" dport=8080 " in line for line in file)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_connection_that_we_dialled_ourselves_is_not_dialled_again(
    hosts: Lab, client: Host, family: Family
) -> None:
    """The rules capture what we dial: the second round is the last."""
    nftables.load(ALL, "tng")
    target = hosts["server"].ipv4 if family == "ipv4" else hosts["server"].ipv6
    async with entrance("ingress") as made:
        with listening(family) as listener:
            async with anyio.create_task_group() as group:
                group.start_soon(made.serve, listener, group)
                with connect(target) as app:
                    await wait_until(lambda: made.counts.refused.total() == 2)
                    with pytest.raises(ConnectionResetError):
                        app.recv(1)
                group.cancel_scope.cancel()
        assert made.counts.refused == {LinkCode.NET_LOOP: 1, LinkCode.TLS_BROKEN: 1}
        assert made.accepted == 2
        assert not made.own._pairs, "nothing is remembered of what has ended"


@pytest.mark.parametrize("end", ["ours", "theirs", "it speaks"])
async def test_the_source_of_a_dialled_connection_may_be_that_of_another_to_elsewhere_or_later(end: str) -> None:
    """The kernel gives a port out again, to anybody; and who is answered is in no loop."""
    own = OwnConnections()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as sock:
        there = Destination("ipv4", *server.getsockname())
        sock.connect(there.sockaddr)
        source = f"127.0.0.1:{sock.getsockname()[1]}"
        pair = own.add(sock, there)
        try:
            with server.accept()[0] as far:
                assert await own.has(far, source, there), "neither has said anything for a while"
                sock.sendall(b"hello")
                assert await own.has(far, source, there)
                assert not await own.has(far, source, Destination("ipv4", "127.0.0.1", there.port - 1))
                assert not await own.has(far, source, Destination("ipv4", "10.0.0.3", there.port))
                with socket.create_connection(server.getsockname()) as other, server.accept()[0] as given_that_port:
                    for word in (b"hell", b"o, world"):  # less than ours has sent, and more
                        other.sendall(word)
                        assert not await own.has(given_that_port, source, there)
                if end == "ours":
                    sock.close()
                elif end == "theirs":
                    reset(far)
                else:
                    far.sendall(b"x")
                for _ in range(60):  # each look is a second, as long as it does not know
                    if not await own.has(far, source, there):
                        break
                else:
                    pytest.fail("it is still taken for the other end of a loop")
        finally:
            own.discard(pair, sock)
        assert not own._pairs


@pytest.mark.parametrize("family", FAMILIES)
async def test_a_client_that_left_the_queue_is_no_direct_connection(
    hosts: Lab, client: Host, family: Family, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reset its connection before anybody accepted it: counted, and nobody is warned."""
    nftables.load(ALL, "tng")
    forget_resets_soon()
    target = hosts["server"].ipv4 if family == "ipv4" else hosts["server"].ipv6
    async with entrance("ingress") as made:
        with listening(family) as listener:
            reset(connect(target))
            await anyio.wait_readable(listener)
            captured, _ = listener.accept()
            captured.setblocking(False)
            # After the reset connection tracking forgets it; whoever asks in between is answered.
            await wait_until(lambda: not tracked())
            with pytest.raises(ClientLeftError):
                sockets.original_destination(captured)
            await made.sessions.serve(captured)
        assert (made.counts.left, made.counts.refused) == (1, {})
        assert captured.fileno() == -1
    assert "event=refused" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("role", "code"), [("ingress", LinkCode.TLS_BROKEN), ("egress", LinkCode.NET_RESET)], ids=["ingress", "egress"]
)
async def test_who_took_the_connection_and_reset_it_was_reached(role: Role, code: LinkCode) -> None:
    """A backlog that is closed resets what waits in it: after the connection was made, before we look."""
    async with entrance(role) as made:
        listener = socket.create_server(("127.0.0.1", 0))
        there = Destination("ipv4", "127.0.0.1", listener.getsockname()[1])
        assert await dialled(made, there, listener.close) == code


async def test_who_refused_the_connection_was_not() -> None:
    async with entrance("ingress") as made:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            there = Destination("ipv4", "127.0.0.1", listener.getsockname()[1])
        assert await dialled(made, there, lambda: None) == LinkCode.NET_DIAL


SHORT = Liveness(idle=1, interval=1, probes=2, unanswered=4)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "data-on-the-way"])
async def test_a_client_that_vanished_leaves_nothing_open(hosts: Lab, busy: bool) -> None:
    """Its link goes down without a word: the service behind the egress is told by a reset."""
    with hosts["server"].inside():
        listener = sockets.listener("egress", "ipv4", 16001, 565)
    carry_for_others(listener, SHORT)
    async with floor(SHORT) as ground:
        with listener, hosts["client"].inside():
            far = socket.create_connection((hosts["server"].ipv4, 16001), timeout=20)
            far.setblocking(True)
            await anyio.wait_readable(listener)
            near, _ = listener.accept()
        near.setblocking(False)
        one = await ground.connect(pair=(near, far))
        hosts["client"].run("ip", "link", "set", "eth0", "down")
        if busy:
            one.app.sendall(b"an answer that nobody takes")
        with anyio.fail_after(60):
            await one.ended.wait()
        assert one.report is not None
        assert one.report.ending is Event.TLS_BROKEN
        with pytest.raises(ConnectionResetError):
            one.app.recv(1)
        assert near.fileno() == one.plain.fileno() == -1


async def dialled(made: Entrance, there: Destination, meanwhile: Callable[[], None]) -> object:
    """How a dial is refused, when something happens in the round of the loop in which it began."""
    dialler = Dialler(made.entry.so_mark, made.poller, made.own)
    on_reset = LinkCode.TLS_BROKEN if made.entry.role == "ingress" else LinkCode.NET_RESET
    async with anyio.create_task_group() as group:
        group.start_soon(_soon, meanwhile)
        with pytest.raises(Refused) as caught:
            await dialler.dial(there, on_reset)
    assert not made.own._pairs, "nothing is remembered of what has ended"
    return caught.value.code


async def _soon(action: Callable[[], None]) -> None:
    action()
