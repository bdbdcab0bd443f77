"""Accepting captured connections, as many as there is room for.

The listeners are shared with other processes: whoever is woken first accepts.
Above the limit nothing is accepted: connections wait in the kernel's queue, and when that is full the kernel drops
SYNs, so that clients retry. A flood costs other connections time, not memory. Who waited for long is reset: an
application is told, instead of hearing nothing for as long as the limit holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterable
from functools import partial

from tng_runtime import log
from tng_runtime.events import Event, LimitLeft, LimitReached
from tng_runtime.kernel.liveness import waited
from tng_runtime.kernel.readiness import Queues
from tng_runtime.kernel.sockets import abort

# Of one listener per turn of the event loop, so that a burst does not starve what is already open.
_BATCH = 32
_RETRY_SECONDS = 1.0
# What may pass at the limit before who waits is reset; it is looked at as often.
QUEUE_SECONDS = 5.0


class Acceptor:
    """Feeds accepted, non-blocking sockets to one handler per listener while fewer than ``limit`` are in use.

    ``tell`` gets the events of the limit.
    """

    def __init__(self, limit: int, tell: Callable[[Event], None] = lambda _: None) -> None:
        self._limit = limit
        self._tell = tell
        # While the limit is reached, and until a part of it is free again: how many were reset, the next look.
        self._turned_away = 0
        self._looking: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._queues = Queues()
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
        if self._looking is not None and self._room > self._limit // 16:
            self._look_no_more()
            self._tell(LimitLeft("connections", self._turned_away))
        if self._room > 0:
            self._retry()

    def stop(self) -> None:
        """Accept no more, and close the listeners here; what waits at them is for others who have them."""
        self._pause()
        self._look_no_more()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()

    def close(self) -> None:
        """Accept no more, for good. Whoever made the listeners says what becomes of them and of those that wait."""
        self._pause()
        self._look_no_more()
        self._listeners.clear()
        self._queues.close()

    def _look_no_more(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _retry(self) -> None:
        if not self._accepting:
            self._resume()

    def _resume(self) -> None:
        self._accepting = bool(self._listeners)
        for listener, handler in self._listeners.items():
            self._queues.watch(listener.fileno(), partial(self._accept, listener, handler))

    def _pause(self) -> None:
        self._accepting = False
        for listener in self._listeners:
            self._queues.forget(listener.fileno())

    def _accept(self, listener: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        for _ in range(_BATCH):
            if self._room <= 0:
                self._pause()
                self._full()
                return
            try:
                accepted, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno == errno.EINVAL:  # it does not listen any more (accept(2))
                    self._queues.forget(listener.fileno())
                    del self._listeners[listener]
                    return
                # Out of descriptors or memory. The next release is a chance, but without a connection there is none.
                log.error("accept_failed", detail=error.strerror, retry_seconds=_RETRY_SECONDS)
                self._pause()
                self._loop.call_later(_RETRY_SECONDS, self._retry)
                return
            self._give(accepted, handler)

    def _give(self, accepted: socket.socket, handler: Callable[[socket.socket], None]) -> None:
        accepted.setblocking(False)
        self._room -= 1
        handler(accepted)

    def _full(self) -> None:
        if self._looking is None:
            self._turned_away = 0
            self._tell(LimitReached("connections", self._limit, "look at who connects, or raise --max-connections"))
            self._looking = self._loop.call_later(QUEUE_SECONDS, self._look)

    def _look(self) -> None:
        """Reset those that have waited too long; the queue is in the order of their coming."""
        self._looking = self._loop.call_later(QUEUE_SECONDS, self._look)
        if self._accepting:
            return
        for listener, handler in tuple(self._listeners.items()):
            with contextlib.suppress(OSError):  # nobody waits, or it does not listen any more
                while True:
                    accepted, _ = listener.accept()
                    if waited(accepted) < QUEUE_SECONDS:
                        # One too many, so that nobody is reset who came just now.
                        self._give(accepted, handler)
                        break
                    self._turned_away += 1
                    abort(accepted)
