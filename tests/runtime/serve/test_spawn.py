"""The nursery: forks on request, tells of every end, and says what it could not fork."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from tng_runtime.messages import Ended, NotSpawned, Ready, Spawn, Spawned
from tng_runtime.serve import channel, spawn
from tng_runtime.serve.channel import Line, Received
from tng_runtime.serve.spawn import ChildRole, _Children

pytestmark = pytest.mark.netns


def work(role: ChildRole, sock: socket.socket) -> None:
    """Say that it is there, and do what the test wants."""
    Line(sock).send(Ready())
    if role == "judge":
        raise RuntimeError("a child that fails")
    sock.recv(1)


def test_a_child_is_forked_and_its_end_is_told() -> None:
    nursery = spawn.start(work)
    told = incoming(Line(nursery.sock))
    for number, role in ((1, "worker"), (2, "judge"), (3, "worker")):
        ours, theirs = channel.pair()
        Line(nursery.sock).send(Spawn(number, role), theirs.fileno())
        theirs.close()
        message, (pidfd,) = next(told)
        assert isinstance(message, Spawned)
        assert message.number == number
        assert [said for said, _ in Line(ours).receive()] == [Ready()]
        if number == 3:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        ours.close()
        assert next(told)[0] == Ended(number, {1: 0, 2: 2, 3: -signal.SIGKILL}[number])
        os.close(pidfd)
    nursery.sock.close()
    assert os.waitstatus_to_exitcode(os.waitpid(nursery.pid, 0)[1]) == 0


def incoming(line: Line) -> Iterator[Received]:
    while True:
        yield from line.receive()


def test_what_cannot_be_forked_is_said_and_asked_for_again() -> None:
    attempts: list[int] = []

    def fork() -> int:
        attempts.append(1)
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    ours, theirs = channel.pair()
    children = _Children(Line(theirs), work, fork)

    def serve() -> None:
        with contextlib.suppress(channel.EndedError):
            children.serve()

    thread = threading.Thread(target=serve)
    thread.start()
    told = incoming(Line(ours))
    for number in (1, 2):
        Line(ours).send(Spawn(number, "worker"), ours.fileno())
        assert next(told)[0] == NotSpawned(number, "Resource temporarily unavailable")
    ours.close()
    thread.join(30)
    theirs.close()
    assert len(attempts) == 2
