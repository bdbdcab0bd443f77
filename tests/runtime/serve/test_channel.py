"""Messages and descriptors between two processes, of which either may be hostile, slow or gone."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable, Iterator

import anyio
import pytest

from tng_runtime import messages
from tng_runtime.messages import AgentGiven, Declined, Drain, Message, Ready
from tng_runtime.serve import channel
from tng_runtime.serve.channel import Channel, EndedError, Line

pytestmark = pytest.mark.anyio


class Side:
    """One end of a channel, and what came to it."""

    def __init__(self, sock: socket.socket) -> None:
        self.got: list[Message] = []
        self.descriptors: list[int] = []
        self.ends: list[str | None] = []
        self.channel = Channel(sock, self._told, self.ends.append)

    def _told(self, message: Message, descriptors: tuple[int, ...]) -> None:
        self.got.append(message)
        self.descriptors.extend(descriptors)


@pytest.fixture
async def side() -> Side:
    return Side(socket.socket())


@pytest.fixture
def both() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = channel.pair()
    with ours, theirs:
        yield ours, theirs


async def until(done: Callable[[], object]) -> None:
    with anyio.fail_after(30):
        while not done():  # noqa: ASYNC110 - the handlers are plain functions
            await anyio.sleep(0.001)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_descriptors_come_with_the_message_that_they_belong_to(both: tuple[socket.socket, socket.socket]) -> None:
    near, far = Side(both[0]), Side(both[1])
    pipes = [os.pipe() for _ in range(3)]
    near.channel.send(Ready())
    for ticket, (_, writing) in enumerate(pipes):
        near.channel.send(AgentGiven(ticket), writing)
        near.channel.send(Drain(ticket))
        os.close(writing)
    await until(lambda: len(far.got) == 7)
    assert [type(each) for each in far.got] == [Ready] + [AgentGiven, Drain] * 3
    for (reading, _), came in zip(pipes, far.descriptors, strict=True):
        assert not os.get_inheritable(came)
        os.write(came, b"end")
        os.close(came)
        assert os.read(reading, 10) == b"end"
        os.close(reading)
    near.channel.close()
    await until(lambda: far.ends == [None])
    assert near.ends == []


async def test_what_there_is_no_room_for_is_sent_later_with_its_descriptors(
    both: tuple[socket.socket, socket.socket],
) -> None:
    near = Side(both[0])
    before = open_files()
    large = Declined(1, "x", "y" * 100_000)
    reading, writing = os.pipe()
    for _ in range(20):
        near.channel.send(large)
    near.channel.send(AgentGiven(7), writing)
    os.close(writing)
    assert open_files() == before + 2, "it keeps one of its own until it is sent"
    far = Side(both[1])
    await near.channel.flushed()
    await until(lambda: len(far.got) == 21)
    assert far.got == [large] * 20 + [AgentGiven(7)]
    os.close(reading)
    os.close(far.descriptors[0])
    assert open_files() == before
    far.channel.close()
    near.channel.close()


async def test_who_reads_nothing_is_given_up(both: tuple[socket.socket, socket.socket]) -> None:
    near = Side(both[0])
    while not near.ends:
        near.channel.send(Declined(1, "x", "y" * 1_000_000))
    assert near.channel.closed
    assert "not read" in str(near.ends)
    near.channel.send(Ready())


async def test_what_is_no_message_ends_it(both: tuple[socket.socket, socket.socket]) -> None:
    near = Side(both[0])
    both[1].send(messages.encode(Ready()) + b"\xff" * 10)
    await until(lambda: near.ends)
    assert near.got == [Ready()]
    assert "version 255" in str(near.ends)


async def test_a_message_without_its_descriptor_ends_it(both: tuple[socket.socket, socket.socket]) -> None:
    near = Side(both[0])
    both[1].send(messages.encode(AgentGiven(1)))
    await until(lambda: near.ends)
    assert near.got == []


async def test_descriptors_that_belong_to_nothing_are_bounded_and_closed(
    both: tuple[socket.socket, socket.socket],
) -> None:
    near = Side(both[0])
    before = open_files()
    rights = array.array("i", [both[1].fileno()] * 50)
    for _ in range(2):
        both[1].sendmsg([messages.encode(Ready())], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    await until(lambda: near.ends)
    assert "more descriptors" in str(near.ends)
    assert open_files() == before - 1, "the channel's own"


async def test_what_was_said_before_the_end_is_heard(both: tuple[socket.socket, socket.socket]) -> None:
    near = Side(both[0])
    both[1].send(messages.encode(Drain(1)))
    both[1].close()
    near.channel.drain_input()
    assert near.got == [Drain(1)]
    assert near.channel.closed


def test_without_a_loop_it_is_the_same(both: tuple[socket.socket, socket.socket]) -> None:
    near, far = Line(both[0]), Line(both[1])
    near.send(AgentGiven(1), both[0].fileno())
    ((message, (descriptor,)),) = far.receive()
    assert message == AgentGiven(1)
    os.close(descriptor)
    both[0].close()
    with pytest.raises(EndedError):
        list(far.receive())
