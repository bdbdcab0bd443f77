"""What the control interface asks the supervisor for: a snapshot of the instance, and what the workers have open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tng_runtime.messages import Connections, ConnectionsWanted, Message, Snapshot

# Of a snapshot, in one message.
PART = 1 << 20
# Lists that are made at a time, and how long a worker is waited for.
MOST_LISTS = 8
LIST_SECONDS = 2.0


class Process(Protocol):
    """A child of the supervisor."""

    number: int

    def send(self, message: Message, *descriptors: int) -> None:
        """Send it if it lives."""
        ...


@dataclass(slots=True)
class _Listing:
    """Open connections are being asked for: by whom, and the workers that have not answered."""

    control: Process
    ticket: int
    awaited: set[int]
    timer: asyncio.TimerHandle | None = None


class Answers:
    """Answers to the control process; ``workers`` are those that serve."""

    def __init__(self, workers: Callable[[], Sequence[Process]]) -> None:
        self.snapshot: Callable[[], bytes] = lambda: b"{}"
        """The instance as it stands, JSON."""
        self._workers = workers
        self._lists: dict[int, _Listing] = {}
        self._last = 0

    def give_snapshot(self, control: Process, ticket: int) -> None:
        """The snapshot, in parts."""
        data = self.snapshot()
        parts = [data[at : at + PART] for at in range(0, len(data), PART)]
        for number, part in enumerate(parts, 1):
            control.send(Snapshot(ticket, int(number < len(parts)), part))

    def list(self, control: Process, ticket: int) -> None:
        """Ask the workers; one that stands still is left out."""
        if len(self._lists) >= MOST_LISTS:
            control.send(Connections(ticket, 0, 0, b""))
            return
        self._last += 1
        number, workers = self._last, self._workers()
        listing = self._lists[number] = _Listing(control, ticket, {each.number for each in workers})
        listing.timer = asyncio.get_running_loop().call_later(LIST_SECONDS, self._end, number)
        for worker in workers:
            worker.send(ConnectionsWanted(number))
        if not workers:
            self._end(number)

    def listed(self, worker: int, told: Connections) -> None:
        """A worker's answer; each has one."""
        listing = self._lists.get(told.ticket)
        if listing is not None and worker in listing.awaited:
            listing.awaited.discard(worker)
            listing.control.send(Connections(listing.ticket, 1, told.total, told.data))
            if not listing.awaited:
                self._end(told.ticket)

    def _end(self, number: int) -> None:
        if (listing := self._lists.pop(number, None)) is not None:
            if listing.timer is not None:
                listing.timer.cancel()
            listing.control.send(Connections(listing.ticket, 0, 0, b""))
