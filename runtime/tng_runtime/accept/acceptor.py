"""Accepting captured connections, as many as there is room for.

Above the limit nothing is accepted: connections wait in the kernel's queue, and when that is full the kernel drops
SYNs, so that clients retry. A flood costs other connections time, not memory.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable, Iterable

from tng_runtime import log
from tng_runtime.kernel.sockets import stop_listening

# Of one listener per turn of the event loop, so that a burst does not starve what is already open.
_BATCH = 32
# Descriptors for everything that is not a connection: listeners, the service, the agent, the log.
_RESERVED = 128
_PER_CONNECTION = 2
_RETRY_SECONDS = 1.0


def connection_limit() -> int:
    """How many connections fit into the limit of open files, which is raised to its hard limit first (getrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max((hard - _RESERVED) // _PER_CONNECTION, 1)


class Acceptor:
    """Feeds accepted, non-blocking sockets to one handler per listener while fewer than ``limit`` are in use."""

    def __init__(self, limit: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = limit
        self._listeners: dict[socket.socket, Callable[[socket.socket], None]] = {}
        self._accepting = False

    def start(self, listeners: Iterable[tuple[socket.socket, Callable[[socket.socket], None]]]) -> None:
        """Begin to accept on ``listeners``; each handler must see to it that ``release`` is called in the end."""
        self._listeners.update(listeners)
        self._resume()

    def release(self) -> None:
        """One accepted connection is gone."""
        self._room += 1
        self._retry()

    def close(self) -> None:
        """Listen no more: from now on the kernel answers captured connections with a reset, those that wait too.

        The sockets stay bound, and whoever made them closes them: until then nobody else can have the port.
        """
        self._pause()
        for listener in self._listeners:
            stop_listening(listener)
        self._listeners.clear()

    def _retry(self) -> None:
        if not self._accepting:
            self._resume()

    def _resume(self) -> None:
        self._accepting = bool(self._listeners)
        for listener, handler in self._listeners.items():
            self._loop.add_reader(listener.fileno(), self._accept, listener, handler)

    def _pause(self) -> None:
        self._accepting = False
        for listener in self._listeners:
            self._loop.remove_reader(listener.fileno())

    def _accept(self, listener: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        for _ in range(_BATCH):
            if self._room <= 0:
                log.warning("connections_at_limit", advice="raise the limit of open files (LimitNOFILE=)")
                self._pause()
                return
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors or memory. The next release is a chance, but without a connection there is none.
                log.error("accept_failed", detail=error.strerror, retry_seconds=_RETRY_SECONDS)
                self._pause()
                self._loop.call_later(_RETRY_SECONDS, self._retry)
                return
            accepted.setblocking(False)
            self._room -= 1
            handler(accepted)
