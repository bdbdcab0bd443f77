"""The relay between a real application and a real TLS peer: ends, failures, back-pressure, fairness."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import select
import socket
import struct
from collections.abc import AsyncIterator

import anyio
import anyio.lowlevel
import pytest
from OpenSSL import SSL

from runtime.relay.peers import SECONDS, Floor, Relayed, floor, threaded, wait_until
from tng_runtime.accept.lifecycle import Event, State
from tng_runtime.kernel.liveness import Liveness, break_off, notice_absence
from tng_runtime.kernel.readiness import BROKEN, Handler
from tng_runtime.manifest import Role
from tng_runtime.relay import link as link_module

pytestmark = pytest.mark.anyio

ROLES: tuple[Role, ...] = ("ingress", "egress")
BULK = 50_000_000
QUEUED = 40_000


@pytest.fixture
async def ground() -> AsyncIterator[Floor]:
    async with floor() as made:
        yield made


def receive_all(sock: socket.socket) -> bytes:
    """Everything up to the end; a reset raises."""
    parts = []
    while part := sock.recv(1 << 18):
        parts.append(part)
    return b"".join(parts)


def read_until_close_notify(peer: SSL.Connection) -> bytes:
    parts = []
    while True:
        try:
            parts.append(peer.recv(1 << 16))
        except SSL.ZeroReturnError:
            return b"".join(parts)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def no_clean_end(peer: SSL.Connection) -> str:
    """How the peer's stream breaks; one that ended would be returned."""
    with pytest.raises(SSL.Error) as caught:
        read_until_close_notify(peer)
    assert not isinstance(caught.value, (SSL.ZeroReturnError, SSL.WantReadError))
    return repr(caught.value)


@pytest.mark.parametrize("role", ROLES)
async def test_the_end_of_plaintext_becomes_close_notify_and_answers_still_flow(ground: Floor, role: Role) -> None:
    one = await ground.connect(role)
    one.app.sendall(b"question")
    one.app.shutdown(socket.SHUT_WR)
    assert await threaded(read_until_close_notify, one.peer) == b"question"
    assert one.link._life.state is State.PLAIN_ENDED
    for part in (b"a long ", b"answer " * 10_000, b"after the half-close"):
        await threaded(one.peer.sendall, part)
    one.peer.shutdown()
    assert (await threaded(receive_all, one.app)).endswith(b"answer after the half-close")
    assert await one.end() is Event.TLS_CLOSE_NOTIFY


@pytest.mark.parametrize("role", ROLES)
async def test_close_notify_becomes_a_fin_and_answers_still_flow(ground: Floor, role: Role) -> None:
    one = await ground.connect(role)
    await threaded(one.peer.sendall, b"question")
    one.peer.shutdown()
    assert await threaded(receive_all, one.app) == b"question"
    assert one.link._life.state is State.TLS_ENDED
    for part in (b"a long ", b"answer " * 10_000, b"after the half-close"):
        await threaded(one.app.sendall, part)
    one.app.shutdown(socket.SHUT_WR)
    assert (await threaded(read_until_close_notify, one.peer)).endswith(b"answer after the half-close")
    assert await one.end() is Event.PLAIN_EOF


async def test_an_end_that_waits_in_the_socket_before_the_relay_starts_is_half_a_close(ground: Floor) -> None:
    """What the relay asks itself to look at again must not pass for a reset."""
    # More than one buffer, and less than the socket takes while nobody reads.
    size = link_module.BUFFER * 2
    for _ in range(20):
        one = await ground.connect()
        one.app.sendall(b"x" * size)
        one.app.shutdown(socket.SHUT_WR)
        assert len(await threaded(read_until_close_notify, one.peer)) == size
        one.peer.sendall(b"answer")
        one.peer.shutdown()
        assert await threaded(receive_all, one.app) == b"answer"


@pytest.mark.parametrize("half_closed", [False, True])
async def test_12_a_tls_stream_that_was_cut_resets_the_application(ground: Floor, half_closed: bool) -> None:
    one = await ground.connect()
    if half_closed:
        one.app.shutdown(socket.SHUT_WR)
        await threaded(read_until_close_notify, one.peer)
    await threaded(one.peer.sendall, b"half of it")
    one.peer_socket.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        await threaded(receive_all, one.app)
    assert await one.end() is Event.TLS_BROKEN


async def test_a_forged_record_resets_the_application(ground: Floor) -> None:
    one = await ground.connect()
    one.peer_socket.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(ConnectionResetError):
        await threaded(receive_all, one.app)
    assert await one.end() is Event.TLS_BROKEN


@pytest.mark.parametrize("half_closed", [False, True])
async def test_a_reset_of_the_plaintext_is_no_clean_end_for_the_peer(ground: Floor, half_closed: bool) -> None:
    one = await ground.connect()
    if half_closed:
        one.app.shutdown(socket.SHUT_WR)
        await threaded(read_until_close_notify, one.peer)
    reset(one.app)
    assert await one.end() is Event.PLAIN_BROKEN
    if not half_closed:
        no_clean_end(one.peer)
    else:
        assert one.peer_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or not one.peer_socket.recv(1)


async def test_a_reset_of_the_peer_resets_the_application(ground: Floor) -> None:
    one = await ground.connect()
    reset(one.peer_socket)
    with pytest.raises(ConnectionResetError):
        await threaded(receive_all, one.app)
    assert await one.end() is Event.TLS_BROKEN


def odd_chunks(seed: int) -> list[bytes]:
    """``BULK`` bytes, one byte to 700,000 at a time."""
    generator = random.Random(seed)
    block = generator.randbytes(710_000)
    sizes, left = [], BULK
    while left:
        sizes.append(min(left, int(10 ** generator.uniform(0, 5.85))))
        left -= sizes[-1]
    return [block[:size] for size in sizes]


def digest_of(chunks: list[bytes]) -> str:
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()


async def test_50_megabytes_pass_both_ways_at_once_unchanged(ground: Floor) -> None:
    """The peer's OpenSSL is one thread's at a time, so it reads and writes in turns."""
    one = await ground.connect()
    up, down = odd_chunks(1), odd_chunks(2)
    got: dict[str, str] = {}

    def application_sends() -> None:
        for chunk in up:
            one.app.sendall(chunk)
        one.app.shutdown(socket.SHUT_WR)

    def application_receives() -> None:
        found = hashlib.sha256()
        while part := one.app.recv(1 << 18):
            found.update(part)
        got["app"] = found.hexdigest()

    def peer_works() -> None:
        got["peer"] = exchange(one.peer, one.peer_socket, down)

    async with anyio.create_task_group() as group:
        for work in (application_sends, application_receives, peer_works):
            group.start_soon(threaded, work)
    assert got == {"app": digest_of(down), "peer": digest_of(up)}
    assert await one.end() in (Event.PLAIN_EOF, Event.TLS_CLOSE_NOTIFY)
    assert one.report is not None
    assert (one.report.to_tls, one.report.to_plain) == (BULK, BULK)


def exchange(peer: SSL.Connection, sock: socket.socket, chunks: list[bytes]) -> str:
    """Send ``chunks`` and close_notify while everything is read up to close_notify; the digest of what was read."""
    sock.setblocking(False)
    found, to_send, offset, reading = hashlib.sha256(), iter([*chunks, b""]), 0, True
    chunk = next(to_send)
    writing = True
    while reading or writing:
        stuck = True
        try:
            if writing and not chunk:
                peer.shutdown()
                writing = False
            while writing and chunk:
                offset += peer.send(chunk[offset:])
                stuck = False
                if offset == len(chunk):
                    chunk, offset = next(to_send), 0
        except SSL.WantWriteError:
            pass
        try:
            while reading:
                found.update(peer.recv(1 << 18))
                stuck = False
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            reading = False
        if stuck and (reading or writing):
            select.select([sock] if reading else [], [sock] if writing else [], [], 5)
    return found.hexdigest()


def send_until_stuck(peer: SSL.Connection, sock: socket.socket, data: bytes) -> int:
    """How much of endless ``data`` the relay's side takes until nothing moves for a while."""
    sock.setblocking(False)
    sent = 0
    while True:
        try:
            sent += peer.send(data)
        except SSL.WantWriteError:
            if not select.select([], [sock], [], 0.3)[1]:
                return sent


async def test_an_application_that_does_not_read_holds_the_peer_back(ground: Floor) -> None:
    one = await ground.connect(app_buffer=4096)
    data = b"0123456789abcdef" * 1024
    sent = await threaded(send_until_stuck, one.peer, one.peer_socket, data)
    held = one.link._held_plain
    assert held is not None
    assert len(held) <= link_module.BUFFER
    # Beside what is held there are only the kernel's buffers of two sockets, each at most of tcp_wmem or tcp_rmem.
    assert sent < 40_000_000
    taken = one.link.to_plain
    await anyio.lowlevel.checkpoint()
    assert one.link.to_plain == taken, "nothing is read while something is held"

    def take() -> int:
        got = 0
        while got < sent:
            got += len(one.app.recv(1 << 18))
        return got

    assert await threaded(take) == sent > taken
    await wait_until(lambda: one.link._held_plain is None)


async def test_what_is_counted_towards_the_application_is_what_its_socket_took(ground: Floor) -> None:
    """What the relay still holds is not relayed, and never will be if the application leaves now."""
    one = await ground.connect(app_buffer=4096)
    sent = await threaded(send_until_stuck, one.peer, one.peer_socket, bytes(1 << 14))
    assert one.link._held_plain is not None
    counted, got = one.link.to_plain, 0
    assert counted < sent
    # The loop does not turn meanwhile, so the relay sends nothing more.
    while got < counted:
        got += len(one.app.recv(1 << 20))
    assert got == counted
    assert not select.select([one.app], [], [], 0.3)[0]
    reset(one.app)
    assert await one.end() is Event.PLAIN_BROKEN
    assert one.report is not None
    assert one.report.to_plain >= counted


async def test_what_is_counted_towards_the_peer_is_what_its_socket_took(ground: Floor) -> None:
    one = await ground.connect(peer_buffer=4096)
    one.app.setblocking(False)

    def fill() -> int:
        sent = 0
        while select.select([], [one.app], [], 0.3)[1]:
            with contextlib.suppress(BlockingIOError):
                sent += one.app.send(bytes(1 << 16))
        return sent

    sent = await threaded(fill)
    assert one.link._held_tls is not None
    counted, got = one.link.to_tls, 0
    assert counted < sent
    while got < counted:
        got += len(one.peer.recv(1 << 20))
    assert got == counted
    one.peer_socket.setblocking(False)
    with pytest.raises(SSL.WantReadError):
        one.peer.recv(1)


async def test_a_peer_that_does_not_read_holds_the_application_back(ground: Floor) -> None:
    one = await ground.connect(peer_buffer=4096)
    one.app.setblocking(False)

    def fill() -> int:
        sent = 0
        while select.select([], [one.app], [], 0.3)[1]:
            try:
                sent += one.app.send(bytes(1 << 16))
            except BlockingIOError:
                continue
        return sent

    sent = await threaded(fill)
    assert one.link._held_tls is not None
    assert len(one.link._held_tls) <= link_module.BUFFER
    assert sent < 40_000_000
    one.app.shutdown(socket.SHUT_WR)
    got = await threaded(read_until_close_notify, one.peer)
    assert len(got) == sent


async def test_close_notify_waits_for_room(ground: Floor) -> None:
    one = await ground.connect(unix="peer")
    await queue_towards_peer(one)
    one.app.shutdown(socket.SHUT_WR)
    await wait_until(lambda: one.link._finishing)
    assert len(await threaded(read_until_close_notify, one.peer)) == QUEUED
    one.peer.shutdown()
    assert await threaded(receive_all, one.app) == b""
    assert await one.end() is Event.TLS_CLOSE_NOTIFY


async def test_a_last_close_notify_that_waits_for_room_is_sent_too(ground: Floor) -> None:
    one = await ground.connect(unix="peer")
    await queue_towards_peer(one)
    one.peer.shutdown()
    assert await threaded(receive_all, one.app) == b""
    one.app.shutdown(socket.SHUT_WR)
    await wait_until(lambda: one.link._finishing)
    assert one.link._life.state is State.CLOSED
    assert len(await threaded(read_until_close_notify, one.peer)) == QUEUED
    assert await one.end() is Event.PLAIN_EOF


async def test_a_last_close_notify_is_not_lost_to_the_hang_up_of_a_closed_socket(ground: Floor) -> None:
    """With both directions of the plaintext closed its socket hangs up (epoll(7)) while close_notify still waits."""
    one = await ground.connect(unix="peer")
    await queue_towards_peer(one)
    one.app.shutdown(socket.SHUT_WR)
    one.peer.shutdown()
    await wait_until(lambda: one.link._finishing and one.link._life.state is State.CLOSED)
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
    assert len(await threaded(read_until_close_notify, one.peer)) == QUEUED
    assert await one.end() is Event.PLAIN_EOF


async def queue_towards_peer(one: Relayed) -> None:
    """Leave the relay's TLS socket without room for a byte, and nothing held.

    A send buffer that is set smaller than what it holds takes nothing until that is gone.
    """
    one.app.sendall(bytes(QUEUED))
    await wait_until(lambda: one.link.to_tls == QUEUED)
    assert one.link._held_tls is None
    one.near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)


async def test_a_reader_that_rests_is_left_alone_for_as_long_as_it_likes() -> None:
    """Three times as long as data may stay unanswered, with a closed window, at either end."""
    short = Liveness(idle=1, interval=1, probes=2, unanswered=6)
    async with floor(short) as ground:
        resting, other = await ground.connect(app_buffer=4096), await ground.connect(peer_buffer=4096)
        for sock in (resting.plain, other.near):
            notice_absence(sock, short)
        sent = await threaded(send_until_stuck, resting.peer, resting.peer_socket, bytes(1 << 14))
        other.app.sendall(bytes(link_module.BUFFER))
        await anyio.sleep(short.unanswered * 3)  # for what must not happen there is no event
        assert not resting.ended.is_set()
        assert not other.ended.is_set()
        got = 0
        while got < sent:
            got += len(await threaded(resting.app.recv, 1 << 18))
        other.app.shutdown(socket.SHUT_WR)
        assert len(await threaded(read_until_close_notify, other.peer)) == link_module.BUFFER


async def test_every_connection_is_looked_after_however_many_there_are(
    ground: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of them in each round of the loop, again and again while there are any."""
    monkeypatch.setattr(link_module, "_LOOKED_AT", 2)
    several = [await ground.connect() for _ in range(5)]
    looked: list[object] = []
    monkeypatch.setattr(link_module._Link, "look_after", lambda link, _: looked.append(link))
    assert ground.relay._looking is not None
    ground.relay._look([])
    await wait_until(lambda: len(looked) == len(several))
    assert set(looked) == {one.link for one in several}
    assert ground.relay._looking is not None
    for one in several:
        reset(one.app)
        await one.end()
    await wait_until(lambda: not ground.relay._links)
    ground.relay._look([])
    assert ground.relay._looking is None


LINGER = struct.Struct("ii")


def closings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """SO_LINGER of sockets at the moment in which they are closed."""
    seen: list[tuple[int, int]] = []

    def close(sock: socket.socket) -> None:
        if sock.fileno() >= 0:
            seen.append(LINGER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.size)))
        closes(sock)

    closes = socket.socket.close
    monkeypatch.setattr(socket.socket, "close", close)
    return seen


@pytest.mark.parametrize("orderly", [True, False])
async def test_only_an_end_in_order_is_no_reset(ground: Floor, monkeypatch: pytest.MonkeyPatch, orderly: bool) -> None:
    one = await ground.connect()
    for sock in (one.near, one.plain):
        break_off(sock)
    if orderly:
        one.app.shutdown(socket.SHUT_WR)
        one.peer.shutdown()
    seen = closings(monkeypatch)
    if not orderly:
        one.link.abort(Event.DRAIN_OVER)
    await one.end()
    assert seen == [(0, 0) if orderly else (1, 0)] * 2


@pytest.mark.parametrize("waiting", [False, True])
async def test_cancellation_closes_both_sides(ground: Floor, waiting: bool) -> None:
    one = await ground.connect(unix="peer" if waiting else None)
    if waiting:
        await queue_towards_peer(one)
        one.peer.shutdown()
        one.app.shutdown(socket.SHUT_WR)
        await wait_until(lambda: one.link._finishing and one.link._life.state is State.CLOSED)
    one.scope.cancel()
    with anyio.fail_after(SECONDS):
        await one.ended.wait()
    assert one.report is None
    assert (one.near.fileno(), one.plain.fileno()) == (-1, -1)
    if not waiting:
        with pytest.raises(ConnectionResetError):
            await threaded(receive_all, one.app)
        no_clean_end(one.peer)


async def test_no_descriptor_and_no_link_stays_behind() -> None:
    async with floor() as ground:
        before = len(os.listdir("/proc/self/fd"))
        for number in range(30):
            one = await ground.connect(ROLES[number % 2])
            if number % 3 == 0:
                reset(one.app)
            elif number % 3 == 1:
                one.peer.shutdown()
                one.app.shutdown(socket.SHUT_WR)
            else:
                one.scope.cancel()
            with anyio.fail_after(SECONDS):
                await one.ended.wait()
            one.app.close()
            one.peer_socket.close()
        assert len(os.listdir("/proc/self/fd")) == before
        assert ground.relay._links == set()
        assert ground.poller._handlers == {}


@pytest.mark.parametrize("record", [16_000, 1])
async def test_a_busy_connection_does_not_starve_a_quiet_one(ground: Floor, record: int) -> None:
    """However small the records of the busy one are."""
    busy, quiet = await ground.connect(), await ground.connect()
    stop = False

    def flood() -> None:
        data = bytes(record)
        while not stop:
            busy.peer.send(data)
        busy.peer.shutdown()

    def swallow() -> None:
        while busy.app.recv(1 << 20):
            pass

    def talk() -> None:
        for number in range(30):
            ping = b"%04d" % number
            quiet.app.sendall(ping)
            assert quiet.peer.recv(100) == ping
            quiet.peer.sendall(ping)
            assert quiet.app.recv(100) == ping

    async with anyio.create_task_group() as group:
        group.start_soon(threaded, flood)
        group.start_soon(threaded, swallow)
        await wait_until(lambda: busy.link.to_plain > 1000 * record)
        with anyio.fail_after(SECONDS):
            await threaded(talk)
        before = busy.link.to_plain
        await wait_until(lambda: busy.link.to_plain > before)
        stop = True


async def test_a_turn_ends_after_some_records_however_small(ground: Floor) -> None:
    one = await ground.connect()
    for _ in range(2000):
        one.peer.send(b"x")
    steps, before = [], 0
    while before < 2000:
        await anyio.lowlevel.checkpoint()
        steps.append(one.link.to_plain - before)
        before = one.link.to_plain
    # One event and one look of its own may fall into the same round of the loop.
    assert max(steps) <= 2 * link_module._TURNS * link_module._RECORDS


async def test_what_the_relay_asks_itself_to_look_at_never_passes_for_a_reset(
    ground: Floor, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    later = ground.poller.later

    def record(handler: Handler, events: int) -> None:
        asked.append(events)
        later(handler, events)

    monkeypatch.setattr(ground.poller, "later", record)
    one = await ground.connect()

    def speak() -> None:
        one.app.sendall(bytes(link_module.BUFFER * 20))
        one.app.shutdown(socket.SHUT_WR)

    async with anyio.create_task_group() as group:
        group.start_soon(threaded, speak)
        assert len(await threaded(read_until_close_notify, one.peer)) == link_module.BUFFER * 20
    assert asked
    assert not any(events & BROKEN for events in asked)


async def test_the_failure_of_one_connection_is_not_found_by_another(ground: Floor) -> None:
    """OpenSSL's errors queue up per thread: one left there would break whoever asks next."""
    broken, honest = await ground.connect(unix="app"), await ground.connect()
    await threaded(broken.peer.sendall, bytes(QUEUED))
    await wait_until(lambda: broken.link.to_plain == QUEUED)
    broken.plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    broken.peer.send(b"one more")
    broken.peer_socket.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
    await wait_until(lambda: broken.link._held_plain is not None)
    for number in range(3):
        await threaded(honest.peer.sendall, b"%d" % number)
        assert await threaded(honest.app.recv, 100) == b"%d" % number
    assert (await threaded(receive_all, broken.app)).endswith(b"one more")
    assert await broken.end() is Event.TLS_BROKEN
