"""Messages and descriptors over a socketpair: with an event loop (``Channel``), and without one (``Line``).

Whoever is at the other end may have been taken over. What it sends is bounded before it is kept, descriptors too, and
what it does not read is kept up to a bound; beyond it the channel ends, and with it, so the supervisor sees to it, the
process.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from tng_runtime import messages
from tng_runtime.messages import Message, MessageError, Reader

MAX_UNSENT = 16 << 20
_RECEIVED_AT_ONCE = 1 << 16
_MOST_DESCRIPTORS = 64
_ANCILLARY = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array.array("i").itemsize)

Received = tuple[Message, tuple[int, ...]]


class EndedError(Exception):
    """The other end is closed."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Both ends of a new channel, blocking."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


class _Incoming:
    """Reads from a socket; owns the descriptors that came and were not taken."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._reader = Reader()
        self._descriptors: deque[int] = deque()

    def receive(self) -> Iterator[Received]:
        """Yield what one read brings; raises ``EndedError``, ``MessageError`` or ``OSError`` (``BlockingIOError``)."""
        data, ancillary, flags, _ = self._sock.recvmsg(_RECEIVED_AT_ONCE, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            raise EndedError
        if flags & socket.MSG_CTRUNC or len(self._descriptors) > _MOST_DESCRIPTORS:
            raise MessageError("more descriptors than any message has")
        for message in self._reader.feed(data):
            if message.descriptors > len(self._descriptors):
                raise MessageError(f"{type(message).__name__} came without its descriptors")
            yield message, tuple(self._descriptors.popleft() for _ in range(message.descriptors))

    def close(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.popleft())


class Line:
    """A channel of a process without an event loop."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._incoming = _Incoming(sock)

    def fileno(self) -> int:
        """For poll(2)."""
        return self._sock.fileno()

    def send(self, message: Message, *descriptors: int) -> None:
        """Send it, and wait as long as that takes; raises ``OSError`` if nobody reads any more."""
        data = messages.encode(message)
        # Not even nothing is sent after the last byte: whoever has read it may be gone.
        if (sent := _send(self._sock, data, descriptors)) < len(data):
            self._sock.sendall(data[sent:])

    def receive(self) -> Iterator[Received]:
        """Wait for more, and yield the messages that are complete then. Their descriptors are the caller's to close."""
        yield from self._incoming.receive()


class Channel:
    """A channel in the running event loop.

    ``on_message`` gets each message with its descriptors, which are its to close. ``on_end`` is called once when the
    other side has ended (None), or with what it did wrong; the channel is closed then. ``close`` does not call it.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_message: Callable[[Message, tuple[int, ...]], None],
        on_end: Callable[[str | None], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        sock.setblocking(False)
        self._on_message, self._on_end = on_message, on_end
        self._incoming = _Incoming(sock)
        self._unsent: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self._bytes_unsent = 0
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._loop.add_reader(sock.fileno(), self._readable)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self._sock.fileno() < 0

    def send(self, message: Message, *descriptors: int) -> None:
        """Send now or as soon as there is room, unless it is closed; the descriptors stay the caller's."""
        if self.closed:
            return
        data = messages.encode(message)
        if not self._unsent:
            try:
                sent = _send(self._sock, data, descriptors)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # its end is told by the reader
            if sent == len(data):
                return
            if sent:
                data, descriptors = data[sent:], ()
            self._loop.add_writer(self._sock.fileno(), self._writable)
        self._emptied.clear()
        self._unsent.append((memoryview(data), tuple(map(os.dup, descriptors))))
        self._bytes_unsent += len(data)
        if self._bytes_unsent > MAX_UNSENT:
            self._fail(f"{self._bytes_unsent} bytes were not read")

    async def flushed(self) -> None:
        """Wait until everything was sent, or cannot be any more."""
        await self._emptied.wait()

    def drain_input(self) -> None:
        """Read what the other side said before it ended."""
        while not self.closed and self._readable():
            pass

    def close(self) -> None:
        """End it; what was not sent is dropped."""
        if self.closed:
            return
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        self._incoming.close()
        for _, descriptors in self._unsent:
            for descriptor in descriptors:
                os.close(descriptor)
        self._unsent.clear()
        self._emptied.set()

    def _fail(self, why: str | None) -> None:
        if not self.closed:
            self.close()
            self._on_end(why)

    def _readable(self) -> bool:
        """False when there is nothing more for now."""
        try:
            for message, descriptors in self._incoming.receive():
                self._on_message(message, descriptors)
                if self.closed:
                    return False
        except BlockingIOError:
            return False
        except (EndedError, OSError):
            self._fail(None)
        except MessageError as error:
            self._fail(str(error))
        return True

    def _writable(self) -> None:
        while self._unsent:
            data, descriptors = self._unsent[0]
            try:
                sent = _send(self._sock, data, descriptors)
            except BlockingIOError:
                return
            except OSError:
                sent = len(data)  # its end is told by the reader
            for descriptor in descriptors:
                os.close(descriptor)
            self._bytes_unsent -= sent
            if sent < len(data):
                self._unsent[0] = (data[sent:], ())
                return
            self._unsent.popleft()
        self._loop.remove_writer(self._sock.fileno())
        self._emptied.set()


def _send(sock: socket.socket, data: bytes | memoryview, descriptors: Sequence[int]) -> int:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    return sock.sendmsg([data], rights)


def close_all(descriptors: Sequence[int]) -> None:
    """Close descriptors that came with a message that nobody wanted."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
