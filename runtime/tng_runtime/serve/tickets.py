"""Questions under way, by number, so that an answer finds who asked, however late it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Tickets(Generic[T]):
    """Belongs to one running event loop. Numbers begin with 1 and are not used again."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = 0
        self._waiting: dict[int, asyncio.Future[T]] = {}

    @contextmanager
    def issue(self) -> Iterator[tuple[int, asyncio.Future[T]]]:
        """A number and its answer to come; what comes after the block is nobody's."""
        self._last += 1
        ticket, future = self._last, self._loop.create_future()
        self._waiting[ticket] = future
        try:
            yield ticket, future
        finally:
            del self._waiting[ticket]

    def answer(self, ticket: int, value: T) -> bool:
        """False if nobody waits for it any more."""
        future = self._waiting.get(ticket)
        if future is None or future.done():
            return False
        future.set_result(value)
        return True

    def fail(self, ticket: int, error: Exception) -> None:
        """Raise ``error`` where the answer is awaited."""
        future = self._waiting.get(ticket)
        if future is not None and not future.done():
            future.set_exception(error)
