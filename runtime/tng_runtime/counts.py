"""What is counted: connections, verdicts and how long things took, by entry; pure, bounded, and easy to add up.

Durations go into buckets (seconds, upper bounds included), so that those of many processes can be summed. Everything
grows only, but for what is open or kept at the moment.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(slots=True)
class Durations:
    """How many durations fell into each bucket of ``BOUNDS`` and above them, and their sum in microseconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    microseconds: int = 0

    def add(self, seconds: float) -> None:
        """One more; a clock that went back counts as no time."""
        seconds = max(0.0, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.microseconds += round(seconds * 1e6)

    def merge(self, buckets: Sequence[int], microseconds: int) -> None:
        """Those of another, which has as many buckets."""
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, buckets, strict=True)]
        self.microseconds += microseconds

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.buckets)


@dataclass(slots=True)
class Verdicts:
    """Of a worker: those it had ``kept``, those the judge has ``given`` it or refused, and how long that took."""

    kept: int = 0
    given: int = 0
    refused: int = 0
    waited: Durations = field(default_factory=Durations)


@dataclass(slots=True)
class EntryCounts:
    """What happened to the connections of one entry.

    ``accepted`` were taken from the listener, ``opened`` of them passed and were relayed, ``ended`` by ending, ``open``
    are relayed now. ``refused`` by code, also those whose verdict ended while they were open; ``left``: clients that
    were gone before their turn.
    ``sent`` is payload from the client to its destination, ``received`` what came back, in bytes.
    """

    accepted: int = 0
    opened: int = 0
    open: int = 0
    left: int = 0
    bugs: int = 0
    sent: int = 0
    received: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    handshakes: Durations = field(default_factory=Durations)
    verdicts: Verdicts = field(default_factory=Verdicts)


@dataclass(slots=True)
class Counts:
    """Of one process, by an entry's pointer."""

    entries: dict[str, EntryCounts] = field(default_factory=dict)

    def of(self, entry: str) -> EntryCounts:
        """Those of an entry."""
        if (found := self.entries.get(entry)) is None:
            found = self.entries[entry] = EntryCounts()
        return found

    @property
    def relayed(self) -> int:
        """Connections that were relayed and have ended."""
        return sum(each.ended.total() for each in self.entries.values())

    @property
    def left(self) -> int:
        """Clients that were gone before their turn."""
        return sum(each.left for each in self.entries.values())

    @property
    def refused(self) -> Counter[str]:
        """By code."""
        return sum((each.refused for each in self.entries.values()), Counter[str]())


@dataclass(slots=True)
class Asked:
    """Calls to the agent or the service: how long those took that were answered, and how many were not."""

    took: Durations = field(default_factory=Durations)
    failed: int = 0

    def tell(self, seconds: float, answered: bool) -> None:
        """One call has ended."""
        if answered:
            self.took.add(seconds)
        else:
            self.failed += 1


@contextmanager
def counted(asked: Asked) -> Iterator[None]:
    """One call; whoever raises was not answered."""
    began = time.monotonic()
    try:
        yield
    except BaseException:
        asked.tell(0.0, answered=False)
        raise
    asked.tell(time.monotonic() - began, answered=True)
