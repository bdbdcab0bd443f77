"""How a connection ends when a process dies, and what the kernel does about a peer that is gone or slow."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator

import pytest

from tng_demo.lab import Host, Lab
from tng_runtime.kernel import liveness, nftables, sockets
from tng_runtime.kernel.liveness import Liveness, Patience

pytestmark = pytest.mark.netns

PORT = 16001
# Whole seconds are what the kernel takes.
SHORT = Liveness(idle=1, interval=1, probes=2, unanswered=4)
# For what a busy machine does late.
PATIENCE = 60.0
# The second where the neighbour does not answer ARP either.
GONE = (errno.ETIMEDOUT, errno.EHOSTUNREACH)


def connected(hosts: Lab, values: Liveness = SHORT) -> tuple[socket.socket, socket.socket]:
    """An accepted socket on the server and its client's, on the other host; the listener has the options."""
    with hosts["server"].inside():
        listener = sockets.listener("egress", "ipv4", PORT, 565)
    liveness.carry_for_others(listener, values)
    with listener, hosts["client"].inside():
        client = socket.create_connection((hosts["server"].ipv4, PORT), timeout=PATIENCE)
        listener.settimeout(PATIENCE)
        accepted, _ = listener.accept()
    accepted.setblocking(False)
    return accepted, client


def cut(host: Host) -> None:
    """The host loses its link without a word."""
    host.run("ip", "link", "set", "eth0", "down")


def error_within(sock: socket.socket, seconds: float) -> int:
    """The error that ends ``sock``, 0 if none does."""
    poll = select.poll()
    poll.register(sock, 0)  # errors are told in any case
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if poll.poll(seconds * 1000) else 0


@pytest.mark.parametrize("data", [b"", bytes(100)], ids=["idle", "data-on-the-way"])
def test_a_peer_that_vanished_is_noticed(hosts: Lab, data: bytes) -> None:
    accepted, client = connected(hosts)
    with accepted, client:
        cut(hosts["client"])
        if data:
            accepted.send(data)
        assert error_within(accepted, PATIENCE) in GONE


def test_a_peer_that_is_silent_but_there_is_left_alone(hosts: Lab) -> None:
    accepted, client = connected(hosts)
    with accepted, client:
        assert error_within(accepted, SHORT.unanswered * 2) == 0
        client.sendall(b"still here")
        assert select.select([accepted], [], [], PATIENCE)[0]
        assert accepted.recv(100) == b"still here"


def stuff(accepted: socket.socket) -> int:
    """Send until neither the reader nor the kernel takes more."""
    sent = 0
    while select.select([], [accepted], [], 0.5)[1]:
        with contextlib.suppress(BlockingIOError):
            sent += accepted.send(bytes(1 << 16))
    return sent


def watched(patience: Patience, until: Callable[[], bool], seconds: float) -> bool:
    """Look after the reader as the relay does, until something holds; False if it does not within ``seconds``."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        patience.look()
        if until():
            return True
        time.sleep(SHORT.unanswered * liveness.PERIOD / 2)  # no event says that a window stays closed
    return False


def test_a_reader_that_rests_is_not_taken_for_one_that_is_gone(hosts: Lab) -> None:
    """Longer than the timeout, with a closed window; then it reads on, and all of it is there."""
    accepted, client = connected(hosts)
    with accepted, client:
        sent, patience = stuff(accepted), Patience(accepted, SHORT)
        assert not watched(patience, lambda: error_within(accepted, 0) != 0, SHORT.unanswered * 3)
        got = 0
        while got < sent:
            got += len(client.recv(1 << 20))
        assert got == sent
        assert watched(patience, lambda: user_timeout(accepted) == SHORT.unanswered * 1000, PATIENCE)


def test_without_patience_it_would_be(hosts: Lab) -> None:
    """The control of the case before: this kernel ends such a connection."""
    accepted, client = connected(hosts)
    with accepted, client:
        stuff(accepted)
        assert error_within(accepted, PATIENCE) == errno.ETIMEDOUT


def test_a_reader_that_rested_and_vanished_is_noticed(hosts: Lab) -> None:
    accepted, client = connected(hosts)
    with accepted, client:
        stuff(accepted)
        patience = Patience(accepted, SHORT)
        assert watched(patience, lambda: user_timeout(accepted) == 0, PATIENCE)
        cut(hosts["client"])
        assert watched(patience, lambda: error_within(accepted, 0) in GONE, PATIENCE * 2)


def test_patience_with_what_is_no_tcp_or_closed_does_nothing() -> None:
    near, far = socket.socketpair()
    with near, far:
        patience = Patience(near, SHORT)
        patience.look()
    patience.look()


def user_timeout(sock: socket.socket) -> int:
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)


def test_accepted_sockets_inherit_every_option(hosts: Lab) -> None:
    values = Liveness(7, 8, 9, 10)
    accepted, client = connected(hosts, values)
    with accepted, client:
        assert options(accepted) == expected(values)


def options(sock: socket.socket) -> dict[str, int]:
    """What ``carry_for_others`` sets."""
    onoff, seconds = struct.unpack("ii", sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8))
    return {
        "keepalive": sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "idle": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        "interval": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL),
        "probes": sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
        "timeout": user_timeout(sock),
        "inline": sock.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE),
        "linger": onoff,
        "seconds": seconds,
    }


def expected(values: Liveness) -> dict[str, int]:
    """The options of a relayed socket with these values."""
    return {
        "keepalive": 1,
        "idle": values.idle,
        "interval": values.interval,
        "probes": values.probes,
        "timeout": values.unanswered * 1000,
        "inline": 1,
        "linger": 1,
        "seconds": 0,
    }


# The child touches nothing that a thread may have locked.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@FORKS
@pytest.mark.parametrize("half", ["open", "they_half_closed", "we_half_closed"])
def test_the_death_of_a_process_is_a_reset(hosts: Lab, half: str) -> None:
    """Also of a connection of which one direction has ended."""
    accepted, client = connected(hosts)
    with client:
        if half != "open":
            (client if half == "they_half_closed" else accepted).shutdown(socket.SHUT_WR)
        holder = os.fork()
        if not holder:
            signal.pause()
        try:
            accepted.close()  # the last one that has it is the process that dies
            if half == "we_half_closed":
                assert client.recv(1) == b""
        finally:
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)
        assert error_within(client, PATIENCE) in (errno.ECONNRESET, errno.EPIPE)


@FORKS
def test_an_end_in_order_loses_nothing_although_the_process_ends(hosts: Lab) -> None:
    """A slow reader, with megabytes in the send queue at the close."""
    accepted, client = connected(hosts)
    with client:
        sent = stuff(accepted)
        waits, goes = os.pipe()
        holder = os.fork()
        if not holder:
            os.read(waits, 1)
            liveness.end_in_order(accepted)
            accepted.close()
            os._exit(0)
        accepted.close()
        os.write(goes, b"x")
        os.waitpid(holder, 0)
        os.close(waits)
        os.close(goes)
        got = 0
        while part := client.recv(1 << 20):
            got += len(part)
        assert got == sent > 100_000


# --- half-closed connections and connection tracking ---

FORGETS = 3
EARLY = Liveness(idle=1, interval=1, probes=5, unanswered=60)
LATE = Liveness(idle=3600, interval=1, probes=5, unanswered=60)
REDIRECT = (
    "table inet tng {\n chain c {\n type nat hook prerouting priority -105\n"
    f"tcp dport 8080 redirect to :{PORT}\n}}\n}}"
)


@pytest.fixture
def captured(hosts: Lab) -> Iterator[Callable[[Liveness], tuple[socket.socket, socket.socket]]]:
    """Redirected connections on a host that forgets half-closed ones after ``FORGETS`` seconds."""
    server = hosts["server"]
    with server.inside():
        nftables.load(REDIRECT, "tng")
        for state in ("close_wait", "fin_wait", "last_ack"):
            with open(f"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}", "w", encoding="ascii") as file:
                file.write(str(FORGETS))
        listener = sockets.listener("egress", "ipv4", PORT, 565)

    def connect(values: Liveness) -> tuple[socket.socket, socket.socket]:
        liveness.carry_for_others(listener, values)
        with hosts["client"].inside():
            client = socket.create_connection((server.ipv4, 8080), timeout=PATIENCE)
        listener.settimeout(PATIENCE)
        accepted, _ = listener.accept()
        accepted.settimeout(PATIENCE)
        return accepted, client

    with listener:
        yield connect


def tracked(host: Host, client: socket.socket) -> bool:
    """Whether the host still knows the connection."""
    with host.inside(), open("/proc/thread-self/net/nf_conntrack", encoding="ascii") as file:
        return any(f" sport={client.getsockname()[1]} dport=8080 " in line for line in file)


@pytest.mark.parametrize("who", ["client", "we"])
def test_a_late_answer_after_a_half_close_arrives(
    hosts: Lab, captured: Callable[[Liveness], tuple[socket.socket, socket.socket]], who: str
) -> None:
    """Long after connection tracking has forgotten one of the same age that sends no probes."""
    kept, forgotten = captured(EARLY), captured(LATE)
    with kept[0], kept[1], forgotten[0], forgotten[1]:
        for accepted, client in (kept, forgotten):
            (client if who == "client" else accepted).shutdown(socket.SHUT_WR)
            assert (accepted if who == "client" else client).recv(1) == b""
        time.sleep(FORGETS * 3)  # it is silence that must be survived
        assert tracked(hosts["server"], kept[1])
        assert not tracked(hosts["server"], forgotten[1]), "the control: nothing would be proved"
        speaker, hearer = kept if who == "client" else kept[::-1]
        speaker.sendall(b"late answer")
        assert hearer.recv(100) == b"late answer"
