"""Readiness of many sockets for few Python calls: one edge-triggered epoll set inside the event loop.

An epoll descriptor is itself pollable (epoll(7)), so the loop watches only this one, and each wake-up delivers a whole
batch. A socket is registered once for its life, for all its events. Edge-triggered means: an event says that something
changed, and whoever takes it goes on until the kernel answers EAGAIN, or asks to be called again.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

from tng_runtime.errors import LinkCode, Refused

READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR
ENDED = select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP
# A read that was not filled is not the last: an end is yet to be read, or an urgent byte, where reads stop (tcp(7)).
MORE = ENDED | select.EPOLLPRI
# For ``later``: asks to look until there is nothing more, and claims neither a reset nor an error.
LOOK = select.EPOLLIN | select.EPOLLRDHUP
# Both directions are over, by a reset or an error.
BROKEN = select.EPOLLHUP | select.EPOLLERR

_ALL = select.EPOLLIN | select.EPOLLOUT | select.EPOLLPRI | select.EPOLLRDHUP | select.EPOLLET
_BATCH = 512
# Deadlines are looked at together, and no more often than this, in seconds: a timer for each costs more than the wait.
_TICK = 0.05

Handler = Callable[[int], None]


class _Noted:
    """The handler of a descriptor that nobody waits for: its last events tell all that is so (epoll(7))."""

    __slots__ = ("events",)

    def __init__(self, events: int = 0) -> None:
        self.events = events

    def __call__(self, events: int) -> None:
        self.events = events


class Poller:
    """Calls a handler with the epoll events of its descriptor. Belongs to one running event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._waiting: dict[asyncio.Future[int], float] = {}
        self._ticking: asyncio.TimerHandle | None = None
        self._loop.add_reader(self._epoll.fileno(), self._dispatch)

    def register(self, descriptor: int, handler: Handler | None = None) -> None:
        """Watch ``descriptor``, whose current state counts as its first event; raises ``Refused`` (NET-LIMIT)."""
        self._handlers[descriptor] = handler or _Noted()
        try:
            self._epoll.register(descriptor, _ALL)
        except OSError as error:
            del self._handlers[descriptor]
            raise Refused(LinkCode.NET_LIMIT, f"the kernel watches no more sockets: {error.strerror}") from None

    def hand_over(self, descriptor: int, handler: Handler) -> int:
        """Give the events of a registered descriptor to ``handler``; the last that came before are returned."""
        before, self._handlers[descriptor] = self._handlers[descriptor], handler
        return before.events if isinstance(before, _Noted) else LOOK

    def came(self, descriptor: int) -> int:
        """The last events of a registered descriptor that nobody waited for."""
        handler = self._handlers[descriptor]
        return handler.events if isinstance(handler, _Noted) else 0

    def forget(self, descriptor: int) -> None:
        """Stop calling; said just before the descriptor is closed, which takes it out of the set (epoll(7))."""
        self._handlers.pop(descriptor, None)

    def later(self, handler: Handler, events: int) -> None:
        """Call ``handler`` in the loop's next round: for work that was cut short so that others have their turn."""
        self._loop.call_soon(handler, events)

    def time(self) -> float:
        """The clock of ``wait``'s deadlines, in seconds."""
        return self._loop.time()

    async def wait(self, descriptor: int, deadline: float, wanted: int = -1) -> int:
        """The next events of a registered descriptor of which one is ``wanted``.

        The caller tries its operation before, and again after.
        Raises ``TimeoutError`` at ``deadline`` (``time``), or some hundredths of a second later.
        """
        future: asyncio.Future[int] = self._loop.create_future()

        def wake(events: int) -> None:
            if events & wanted:
                # Those that come before its task goes on are noted, too.
                self._handlers[descriptor] = _Noted(events)
                if not future.done():
                    future.set_result(events)

        self._handlers[descriptor] = wake
        self._waiting[future] = deadline
        if self._ticking is None or deadline < self._ticking.when():
            self._tick_at(deadline)
        try:
            return await future
        finally:
            del self._waiting[future]

    def _tick_at(self, when: float) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
        self._ticking = self._loop.call_at(when, self._tick)

    def _tick(self) -> None:
        """End the waits whose deadline has passed."""
        self._ticking, now = None, self._loop.time()
        for future, deadline in self._waiting.items():
            if deadline <= now and not future.done():
                future.set_exception(TimeoutError())
        if self._waiting:
            self._tick_at(max(min(self._waiting.values()), now + _TICK))

    def close(self) -> None:
        """Watch nothing any more."""
        if self._ticking is not None:
            self._ticking.cancel()
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        self._handlers.clear()

    def _dispatch(self) -> None:
        handlers = self._handlers
        for descriptor, events in self._epoll.poll(0, _BATCH):
            # A handler earlier in the batch may have closed this one.
            if (handler := handlers.get(descriptor)) is None:
                continue
            try:
                handler(events)
            except Exception as error:
                # Edges come once: those of the rest of the batch must not be lost to a bug in one handler.
                self._loop.call_exception_handler({"message": "a readiness handler failed", "exception": error})


class Queues:
    """Calls a handler while connections wait at a listener that other processes watch too (EPOLLEXCLUSIVE).

    Level-triggered: what is left over is told again. Belongs to one running event loop.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._dispatch)

    def watch(self, descriptor: int, handler: Callable[[], None]) -> None:
        """Call ``handler`` from now on; a descriptor that is watched already stays so."""
        if descriptor not in self._handlers:
            self._epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
        self._handlers[descriptor] = handler

    def forget(self, descriptor: int) -> None:
        """Stop calling."""
        if self._handlers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def close(self) -> None:
        """Watch nothing any more."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._handlers.clear()

    def _dispatch(self) -> None:
        for descriptor, _ in self._epoll.poll(0):
            if (handler := self._handlers.get(descriptor)) is not None:
                handler()
