"""The poller on real sockets: edges, hand-over, and what a handler may do to the rest of a batch."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from runtime.servers import loopback
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.readiness import BROKEN, ENDED, LOOK, READABLE, WRITABLE, Poller

pytestmark = pytest.mark.anyio

PATIENCE = 60.0


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = Poller()
    yield made
    made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with loopback() as both:
        yield both


async def rounds(count: int = 20) -> None:
    """Some rounds of the loop: enough for any event that is due."""
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


async def until_some(seen: list[int], count: int = 1) -> None:
    with anyio.fail_after(PATIENCE):
        while len(seen) < count:  # noqa: ASYNC110 - handlers are plain functions
            await anyio.sleep(0.001)


async def test_the_state_at_registration_is_the_first_event(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    far.sendall(b"here already")
    seen: list[int] = []
    poller.register(near.fileno(), seen.append)
    await until_some(seen)
    assert seen[0] & READABLE
    assert seen[0] & WRITABLE
    assert not seen[0] & ENDED


async def test_an_event_comes_once_and_again_with_the_next_bytes(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    seen: list[int] = []
    poller.register(near.fileno(), seen.append)
    await until_some(seen)
    far.sendall(b"one")
    await until_some(seen, 2)
    await rounds()
    assert len(seen) == 2
    far.sendall(b"two")
    await until_some(seen, 3)


async def test_an_end_and_a_reset_are_told_apart(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    seen: list[int] = []
    poller.register(near.fileno(), seen.append)
    await until_some(seen)
    far.shutdown(socket.SHUT_WR)
    await until_some(seen, 2)
    assert seen[1] & ENDED
    assert not seen[1] & BROKEN
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()
    await until_some(seen, 3)
    assert seen[2] & BROKEN


async def test_what_asks_to_look_again_claims_no_failure(poller: Poller) -> None:
    seen: list[int] = []
    poller.later(seen.append, LOOK)
    assert seen == []
    await until_some(seen)
    assert seen[0] & READABLE
    assert not seen[0] & BROKEN


async def test_wait_resumes_with_the_next_event_and_a_cancelled_wait_does_no_harm(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    poller.register(near.fileno(), lambda _: None)
    await poller.wait(near.fileno(), poller.time() + PATIENCE)
    with anyio.move_on_after(0.01) as scope:
        await poller.wait(near.fileno(), poller.time() + PATIENCE)
    assert scope.cancelled_caught
    far.sendall(b"x")
    await rounds()
    far.sendall(b"y")
    with anyio.fail_after(PATIENCE):
        assert await poller.wait(near.fileno(), poller.time() + PATIENCE) & READABLE


async def test_wait_ends_at_its_deadline_and_a_later_event_does_no_harm(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    poller.register(near.fileno(), lambda _: None)
    await poller.wait(near.fileno(), poller.time() + PATIENCE)
    with pytest.raises(TimeoutError):
        await poller.wait(near.fileno(), poller.time() + 0.01)
    far.sendall(b"x")
    await rounds()


async def test_events_go_to_the_handler_of_now(poller: Poller, pair: tuple[socket.socket, socket.socket]) -> None:
    near, far = pair
    first: list[int] = []
    second: list[int] = []
    poller.register(near.fileno(), first.append)
    await until_some(first)
    poller.hand_over(near.fileno(), second.append)
    far.sendall(b"x")
    await until_some(second)
    assert len(first) == 1


async def test_who_takes_a_socket_over_gets_the_last_events_that_nobody_waited_for(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    near, far = pair
    far.sendall(b"x")
    poller.register(near.fileno())
    # Whoever else is told of the same batch: an epoll set lists what became ready in its order.
    seen: list[int] = []
    poller.register(far.fileno(), seen.append)
    await until_some(seen)
    assert poller.hand_over(near.fileno(), seen.append) & READABLE
    far.close()
    poller.forget(far.fileno())
    await poller.wait(near.fileno(), poller.time() + 60)
    assert poller.hand_over(near.fileno(), seen.append) & select.EPOLLRDHUP
    assert poller.hand_over(near.fileno(), seen.append) == LOOK, "a handler had them"


async def test_a_socket_forgotten_by_an_earlier_handler_of_the_batch_is_not_called(poller: Poller) -> None:
    """Both become ready in the same batch; whichever is first closes the other."""
    left, right = socket.socketpair(), socket.socketpair()
    called: list[str] = []

    def closes(name: str, other: socket.socket) -> Any:
        def handler(_: int) -> None:
            called.append(name)
            poller.forget(other.fileno())
            other.close()

        return handler

    poller.register(left[0].fileno(), closes("left", right[0]))
    poller.register(right[0].fileno(), closes("right", left[0]))
    await rounds()
    assert len(called) == 1
    for sock in (*left, *right):
        sock.close()


async def test_a_bug_in_one_handler_loses_no_event_of_another(poller: Poller) -> None:
    left, right = socket.socketpair(), socket.socketpair()
    reported: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reported.append(context))

    def buggy(_: int) -> None:
        raise AssertionError("a bug")

    seen: list[int] = []
    poller.register(left[0].fileno(), buggy)
    poller.register(right[0].fileno(), seen.append)
    try:
        await until_some(seen)
    finally:
        loop.set_exception_handler(None)
    assert [str(context["exception"]) for context in reported] == ["a bug"]
    for sock in (*left, *right):
        sock.close()


async def test_a_descriptor_that_cannot_be_watched_is_refused(poller: Poller) -> None:
    descriptor = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(Refused) as caught:
            poller.register(descriptor, lambda _: None)
    finally:
        os.close(descriptor)
    assert caught.value.code is LinkCode.NET_LIMIT
    assert poller._handlers == {}


async def test_more_sockets_than_a_batch_holds_are_all_called(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(600)]
    seen: list[int] = []
    for near, _ in pairs:
        poller.register(near.fileno(), seen.append)
    await until_some(seen, 600)
    for near, far in pairs:
        near.close()
        far.close()
