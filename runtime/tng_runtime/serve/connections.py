"""The tasks of a worker's connections: begun by the thousand a second, and ended with their drain.

Plain tasks of the event loop: in a task group each of them has a cancel scope and a record of its own, which cost as
much as a tenth of a connection. Nothing is awaited in one, so what it raises is told of by the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine


class Connections:
    """Those that are open; belongs to one running event loop. ``on_end`` is called at the end of each."""

    def __init__(self, on_end: Callable[[], object] = lambda: None) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_end = on_end
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()
        self._deadline: asyncio.TimerHandle | None = None
        self.draining = False

    def add(self, serving: Coroutine[None, None, None]) -> None:
        """Begin to serve one."""
        task = self._loop.create_task(serving)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def drain(self, seconds: float | None) -> None:
        """Let them end, and break off those that have not after ``seconds``; said again, the earlier end counts."""
        self.draining = True
        if seconds is not None:
            at = self._loop.time() + seconds
            if self._deadline is None or at < self._deadline.when():
                if self._deadline is not None:
                    self._deadline.cancel()
                self._deadline = self._loop.call_at(at, self._break_off)
        self._look()

    async def ended(self) -> None:
        """Wait until a drain was asked for and all of them have ended."""
        await self._over.wait()

    def _break_off(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._on_end()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._loop.call_exception_handler({"message": "a connection's task failed", "exception": error})
        self._look()

    def _look(self) -> None:
        if self.draining and not self._tasks:
            self._over.set()
