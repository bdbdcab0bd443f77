"""One socket that two tasks use at the same time, one to read and one to write; the poller watches it for both."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from tng_runtime.kernel.liveness import end_in_order
from tng_runtime.kernel.readiness import BROKEN, ENDED, READABLE, WRITABLE, Poller

# A socket that is gone is noticed by the kernel (``kernel.liveness``), not by this.
FOR_EVER = 365 * 86400.0
_MOST = 256 << 10
# What is thrown away, and for how long, so that the last words are read before the reset that unread bytes cause.
_LINGER_SECONDS, _LINGER_BYTES = 1.0, 1 << 20


class BrokenError(Exception):
    """The connection broke: a reset, or an end where none may be."""


class Duplex:
    """``sock`` is registered with ``poller`` already; whoever is given the socket next takes its events over."""

    def __init__(self, sock: socket.socket, poller: Poller) -> None:
        self.sock, self._poller = sock, poller
        self._reading: asyncio.Future[None] | None = None
        self._writing: asyncio.Future[None] | None = None
        self.gone: Callable[[], None] | None = None
        """Called when both directions are over, by a reset or since nobody is there any more."""
        poller.hand_over(sock.fileno(), self._happened)

    def deadline(self, seconds: float) -> float:
        """In ``seconds`` from now."""
        return self._poller.time() + seconds

    async def peek(self, most: int, deadline: float) -> bytes:
        """Bytes that stay in the socket; none at the end. Raises ``TimeoutError`` and ``BrokenError``."""
        return await self._receive(most, socket.MSG_PEEK, deadline)

    async def receive(self, deadline: float, most: int = _MOST) -> bytes:
        """The next bytes, none at the end; raises ``TimeoutError`` and ``BrokenError``."""
        return await self._receive(most, 0, deadline)

    async def _receive(self, most: int, flags: int, deadline: float) -> bytes:
        while True:
            try:
                return self.sock.recv(most, flags)
            except BlockingIOError:
                self._reading = asyncio.get_running_loop().create_future()
                await self._until(self._reading, deadline)
            except OSError as error:
                raise BrokenError(str(error)) from None

    async def send(self, data: bytes, deadline: float) -> None:
        """All of it; raises ``TimeoutError`` and ``BrokenError``."""
        left = memoryview(data)
        while left:
            try:
                left = left[self.sock.send(left) :]
            except BlockingIOError:
                self._writing = asyncio.get_running_loop().create_future()
                await self._until(self._writing, deadline)
            except OSError as error:
                raise BrokenError(str(error)) from None

    def send_now(self, data: bytes) -> bool:
        """Whether the kernel took all of it; for a few bytes at the beginning of a connection it does."""
        with contextlib.suppress(OSError):
            return self.sock.send(data) == len(data)
        return False

    def finish(self) -> None:
        """Send no more."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    async def close_in_order(self) -> None:
        """End so that the other side reads what was sent to it, whatever it still sends itself."""
        self.finish()
        end, seen = self.deadline(_LINGER_SECONDS), 0
        with contextlib.suppress(TimeoutError, BrokenError):
            while seen < _LINGER_BYTES and (data := await self.receive(end)):
                seen += len(data)
            end_in_order(self.sock)
        self.close()

    def close(self) -> None:
        """Close it, with a reset unless ``end_in_order`` was said."""
        if self.sock.fileno() >= 0:
            self._poller.forget(self.sock.fileno())
            self.sock.close()

    async def _until(self, future: asyncio.Future[None], deadline: float) -> None:
        timer = asyncio.get_running_loop().call_at(deadline, _expire, future)
        try:
            await future
        finally:
            timer.cancel()

    def _happened(self, events: int) -> None:
        for future, mask in ((self._reading, READABLE), (self._writing, WRITABLE | ENDED)):
            if future is not None and events & mask and not future.done():
                future.set_result(None)
        if events & BROKEN and self.gone is not None:
            self.gone()


def _expire(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_exception(TimeoutError())
