"""Accepting on real listeners: as many as there is room for, the rest waits in the kernel."""

from __future__ import annotations

import resource
import socket
import struct
from collections.abc import Callable, Iterator

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from tng_runtime.accept import acceptor as module
from tng_runtime.accept.acceptor import Acceptor
from tng_runtime.events import LimitLeft, LimitReached
from tng_runtime.kernel.sockets import stop_listening

pytestmark = pytest.mark.anyio


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as made:
        made.setblocking(False)
        yield made


@pytest.fixture
def clients(listener: socket.socket) -> Iterator[Callable[[int], list[socket.socket]]]:
    made: list[socket.socket] = []

    def connect(count: int) -> list[socket.socket]:
        fresh = [socket.create_connection(listener.getsockname(), timeout=60) for _ in range(count)]
        made.extend(fresh)
        return fresh

    yield connect
    for sock in made:
        sock.close()


@pytest.fixture
def accepted() -> Iterator[list[socket.socket]]:
    found: list[socket.socket] = []
    yield found
    for sock in found:
        sock.close()


async def grown_to(found: list[socket.socket], count: int) -> None:
    with anyio.fail_after(60):
        while len(found) < count:  # noqa: ASYNC110 - the handler is a plain function
            await anyio.sleep(0.001)
    for _ in range(20):
        await anyio.lowlevel.checkpoint()
    assert len(found) == count


async def test_above_the_limit_connections_wait_and_each_release_lets_one_in(
    listener: socket.socket, clients: Callable[[int], list[socket.socket]], accepted: list[socket.socket]
) -> None:
    acceptor = Acceptor(3)
    acceptor.start([(listener, accepted.append)])
    clients(8)
    await grown_to(accepted, 3)
    assert not accepted[0].getblocking()
    acceptor.release()
    await grown_to(accepted, 4)
    for _ in range(3):
        acceptor.release()
    await grown_to(accepted, 7)
    acceptor.close()


async def test_a_burst_of_more_than_one_turn_is_accepted_whole(
    listener: socket.socket, clients: Callable[[int], list[socket.socket]], accepted: list[socket.socket]
) -> None:
    acceptor = Acceptor(1000)
    acceptor.start([(listener, accepted.append)])
    clients(module._BATCH + 10)
    await grown_to(accepted, module._BATCH + 10)
    acceptor.close()


async def test_the_limit_is_shared_by_all_listeners(
    listener: socket.socket, clients: Callable[[int], list[socket.socket]], accepted: list[socket.socket]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as second:
        second.setblocking(False)
        acceptor = Acceptor(2)
        acceptor.start([(listener, accepted.append), (second, accepted.append)])
        clients(2)
        await grown_to(accepted, 2)
        with socket.create_connection(second.getsockname()) as late:
            await grown_to(accepted, 2)
            acceptor.release()
            await grown_to(accepted, 3)
            assert accepted[-1].getpeername() == late.getsockname()
        acceptor.close()


async def test_after_a_close_it_is_for_others_to_accept(
    listener: socket.socket, clients: Callable[[int], list[socket.socket]], accepted: list[socket.socket]
) -> None:
    acceptor, other = Acceptor(1), Acceptor(10)
    acceptor.start([(listener, accepted.append)])
    clients(2)
    await grown_to(accepted, 1)
    acceptor.close()
    acceptor.release()
    await grown_to(accepted, 1)
    other.start([(listener, accepted.append)])
    await grown_to(accepted, 2)
    other.close()


async def test_a_listener_that_listens_no_more_is_forgotten_without_a_word(
    listener: socket.socket,
    clients: Callable[[int], list[socket.socket]],
    accepted: list[socket.socket],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as second:
        second.setblocking(False)
        acceptor = Acceptor(10)
        acceptor.start([(second, accepted.append), (listener, accepted.append)])
        stop_listening(second)
        clients(1)
        await grown_to(accepted, 1)
        acceptor.close()
    assert capsys.readouterr().err == ""


async def test_a_client_that_is_gone_again_disturbs_no_other(
    listener: socket.socket, clients: Callable[[int], list[socket.socket]], accepted: list[socket.socket]
) -> None:
    (gone,) = clients(1)
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    clients(1)
    acceptor = Acceptor(10)
    acceptor.start([(listener, accepted.append)])
    await grown_to(accepted, 2)
    acceptor.close()


async def test_a_shortage_of_descriptors_ends_by_itself(
    listener: socket.socket,
    clients: Callable[[int], list[socket.socket]],
    accepted: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is open that could be released, and still the next one is accepted when descriptors are back."""
    monkeypatch.setattr(module, "_RETRY_SECONDS", 0.05)
    acceptor = Acceptor(10)
    clients(1)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        acceptor.start([(listener, accepted.append)])
        with anyio.fail_after(60):
            while "accept_failed" not in capsys.readouterr().err:  # noqa: ASYNC110 - a log line is no event
                await anyio.sleep(0.001)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await grown_to(accepted, 1)
    acceptor.close()


async def test_at_the_limit_who_waited_for_long_is_reset_and_it_is_said_once(
    listener: socket.socket,
    clients: Callable[[int], list[socket.socket]],
    accepted: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of them who came just now are spared: one is taken above the limit, the others wait on."""
    monkeypatch.setattr(module, "QUEUE_SECONDS", 0.5)
    told: list[object] = []
    acceptor = Acceptor(32, told.append)
    acceptor.start([(listener, accepted.append)])
    clients(32)
    await grown_to(accepted, 32)
    waiting = clients(3)
    for sock in waiting:
        with pytest.raises(ConnectionResetError):
            await to_thread.run_sync(sock.recv, 1)
    assert told == [LimitReached("connections", 32, "look at who connects, or raise --max-connections")]
    acceptor.release()
    clients(1)
    await grown_to(accepted, 33)
    for _ in range(4):
        acceptor.release()
    assert len(told) == 2
    assert isinstance(told[1], LimitLeft)
    assert told[1].turned_away == 3
    acceptor.close()


async def test_who_comes_just_before_the_look_is_not_reset(
    listener: socket.socket, clients: Callable[[int], list[socket.socket]], accepted: list[socket.socket]
) -> None:
    acceptor = Acceptor(1)
    acceptor.start([(listener, accepted.append)])
    clients(3)
    await grown_to(accepted, 1)
    acceptor._look()
    assert len(accepted) == 2, "one above the limit"
    acceptor.release()
    await grown_to(accepted, 2)
    acceptor.release()
    await grown_to(accepted, 3)
    acceptor.close()
