"""One supervisor takes the place of another, and no connection notices: both sides of what they say to each other.

    new                                   old
    TakeOver                  ──▶
                              ◀──   Inherit (a listener) ..., Inherited
    (binds what is new, gets certificates, starts workers: it may fail, and the old one goes on)
    Commit                    ──▶   (its workers accept no more, it touches the rules no more)
                              ◀──   Yielded
    (loads the ruleset; who waits at a listener that means something else by now is turned away)
    Loaded                    ──▶   (gives up the guard, which only its netlink socket can change)
                              ◀──   Released (the lock)
    (makes the guard its own, lets its workers accept)
    Done                      ──▶   (lets its connections end, and goes)

What comes in the meantime waits in the queue of the listeners, which both have open. A listen port may belong to an
entry of other terms in the new document: who was captured for the old entry must not be carried as the new one says,
to a peer that is verified by less, or not at all. If the new one ends before it said
Done, the old one loads its rules and accepts again. Each makes sure that the other is the same user (SO_PEERCRED).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import anyio

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.messages import (
    Commit,
    Done,
    Inherit,
    Inherited,
    Loaded,
    Message,
    Released,
    TakeOver,
    Yielded,
)
from tng_runtime.serve.channel import Channel, close_all

M = TypeVar("M", bound=Message)
Inheritance = tuple[socket.socket, bytes]
"""A listener, and the terms of its entry."""
# For each step in which the instance accepts nothing.
STEP_SECONDS = 60.0
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class BrokenOffError(Exception):
    """The other side ended, or said something else than was due."""


class Dialogue:
    """One side: says something, and waits for what is due."""

    def __init__(self, sock: socket.socket) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[tuple[Message, tuple[int, ...]]](1024)
        self._channel = Channel(sock, self._told, lambda _: self._send.close())

    def say(self, message: Message, *descriptors: int) -> None:
        """Send it."""
        self._channel.send(message, *descriptors)

    async def due(self, *kinds: type[Message]) -> tuple[Message, tuple[int, ...]]:
        """What comes next, one of ``kinds``; raises ``BrokenOffError``."""
        try:
            message, descriptors = await self._receive.receive()
        except anyio.EndOfStream:
            raise BrokenOffError("the other side has ended") from None
        if not isinstance(message, kinds):
            close_all(descriptors)
            raise BrokenOffError(f"it said {type(message).__name__}")
        return message, descriptors

    async def flushed(self) -> None:
        """Wait until everything was sent."""
        await self._channel.flushed()

    def close(self) -> None:
        """End it."""
        self._channel.close()
        self._send.close()
        with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream, anyio.ClosedResourceError):
            while True:
                close_all(self._receive.receive_nowait()[1])
        self._receive.close()

    def _told(self, message: Message, descriptors: tuple[int, ...]) -> None:
        try:
            self._send.send_nowait((message, descriptors))
        except anyio.WouldBlock:
            close_all(descriptors)
            self.close()


def connect(path: Path) -> socket.socket | None:
    """A connection to the running instance; None if it does not hand over (it starts, ends, or is of before that)."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(STEP_SECONDS)
        sock.connect(str(path))
    except OSError:
        sock.close()
        return None
    if not _same_user(sock):
        sock.close()
        raise HostError(f"{path} belongs to another user", hint=f"remove {path.parent}, if no run is alive")
    return sock


class Predecessor:
    """The running instance, as the new one sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self._dialogue = Dialogue(sock)

    async def inherit(self, drain: float | None) -> list[Inheritance]:
        """Ask for its place, and get its listeners; its connections get ``drain`` seconds. Raises ``HostError``."""
        found: list[Inheritance] = []
        with _or_host_error():
            self._dialogue.say(TakeOver(None if drain is None else int(drain * 1000)))
            while True:
                with anyio.fail_after(STEP_SECONDS):
                    message, descriptors = await self._dialogue.due(Inherit, Inherited)
                if isinstance(message, Inherited):
                    return found
                assert isinstance(message, Inherit)
                found.append((socket.socket(fileno=descriptors[0]), message.terms))

    async def replace(self, load: Callable[[], None], own: Callable[[], None]) -> int:
        """Put our rules in place of its own: ``load`` the ruleset, then ``own`` the guard. Returns the lock."""
        with _or_host_error():
            with anyio.fail_after(STEP_SECONDS):
                self._dialogue.say(Commit())
                await self._dialogue.due(Yielded)
            load()
            with anyio.fail_after(STEP_SECONDS):
                self._dialogue.say(Loaded())
                _, (lock,) = await self._dialogue.due(Released)
            own()
            return lock

    async def dismiss(self) -> None:
        """It may go."""
        self._dialogue.say(Done())
        await self._dialogue.flushed()
        self._dialogue.close()

    def close(self) -> None:
        """Leave it as it is."""
        self._dialogue.close()


@contextlib.contextmanager
def _or_host_error() -> Iterator[None]:
    try:
        yield
    except (BrokenOffError, TimeoutError) as error:
        said = str(error) or "it did not answer"
        raise HostError(f"the running instance did not hand over: {said}", hint="its log says why") from None


class Successors:
    """The door at which a new instance knocks; ``listeners`` are given to it.

    ``pause`` lets nobody accept and nothing touch the rules, ``release`` gives up the guard and returns the lock,
    ``resume`` takes all of that back.
    """

    def __init__(
        self,
        path: Path,
        listeners: Callable[[], list[Inheritance]],
        pause: Callable[[], Awaitable[None]],
        release: Callable[[], int],
        resume: Callable[[], Awaitable[None]],
    ) -> None:
        self._listeners, self._pause, self._release, self._resume = listeners, pause, release, resume
        path.unlink(missing_ok=True)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._sock.bind(str(path))
        path.chmod(0o600)
        self._sock.listen(8)

    def close(self) -> None:
        """Open to nobody any more."""
        self._sock.close()

    async def wait(self) -> TakeOver:
        """Return when another instance has taken over."""
        while True:
            await anyio.wait_readable(self._sock)
            try:
                sock, _ = self._sock.accept()
            except OSError:
                continue
            if not _same_user(sock):
                sock.close()
                continue
            dialogue = Dialogue(sock)
            try:
                return await self._hand_over(dialogue)
            except (BrokenOffError, TimeoutError) as error:
                log.warning("takeover_failed", reason=str(error) or "no answer", meaning="this instance goes on")
            finally:
                dialogue.close()

    async def _hand_over(self, dialogue: Dialogue) -> TakeOver:
        with anyio.fail_after(STEP_SECONDS):
            asked, _ = await dialogue.due(TakeOver)
        assert isinstance(asked, TakeOver)
        log.info("takeover_begins")
        for listener, terms in self._listeners():
            dialogue.say(Inherit(terms), listener.fileno())
        dialogue.say(Inherited())
        await dialogue.due(Commit)
        await self._pause()
        try:
            dialogue.say(Yielded())
            with anyio.fail_after(STEP_SECONDS):
                await dialogue.due(Loaded)
            dialogue.say(Released(), self._release())
            with anyio.fail_after(STEP_SECONDS):
                await dialogue.due(Done)
        except (BrokenOffError, TimeoutError):
            await self._resume()
            raise
        return asked


def _same_user(sock: socket.socket) -> bool:
    _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(uid == os.geteuid())
