"""How much of strangers this machine can carry: connections, handshakes, and a share of them for each source.

Half of the open files is no limit: systemd's hard one stands for 262,000 connections, at 62 KB each 16 GB. So the
defaults follow from the memory there is, of which strangers get a part; the open files bound them as well.
"""

from __future__ import annotations

import contextlib
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.events import Event, LimitLeft, LimitReached

# Measured, in the process and in the kernel: an idle connection with both its sockets, and a handshake half done.
CONNECTION_BYTES = 62 << 10
HANDSHAKE_BYTES = 53 << 10
# Parts of the memory that is available at the start.
_FOR_CONNECTIONS, _FOR_HANDSHAKES = 4, 16
# Descriptors for everything that is not a connection: listeners, the service, the agent, the log.
_RESERVED = 128
_PER_CONNECTION = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one process: connections at a time, and those among them that have no verdict yet."""

    connections: int
    handshakes: int


def choose(connections: int | None, handshakes: int | None, workers: int, memory: int, files: int) -> Limits:
    """What each of ``workers`` may have; None: as ``memory`` (bytes) of all and open ``files`` of each allow."""
    connections = connections or memory // _FOR_CONNECTIONS // CONNECTION_BYTES
    each = max(1, min(-(-connections // workers), (files - _RESERVED) // _PER_CONNECTION))
    handshakes = handshakes or memory // _FOR_HANDSHAKES // HANDSHAKE_BYTES
    return Limits(each, max(1, min(-(-handshakes // workers), each)))


def open_files() -> int:
    """How many descriptors a process may have, the limit raised to its hard limit (getrlimit(2))."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes: what the host has (proc_meminfo(5), MemAvailable), or less where our cgroup or one above it is bounded."""
    lines = (proc / "meminfo").read_text(encoding="ascii").splitlines()
    found = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), 1 << 30)
    with contextlib.suppress(OSError, ValueError):
        groups = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
        group = cgroups / next(line[3:].lstrip("/") for line in groups if line.startswith("0::"))
        for each in (group, *group.parents):
            if each == cgroups or cgroups not in each.parents:
                break
            found = min(found, _left(each))
    return max(0, found)


def _left(group: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        most = int((group / "memory.max").read_text(encoding="ascii"))
        return most - int((group / "memory.current").read_text(encoding="ascii"))
    return 1 << 62  # no bound, "max", or no memory controller


class Handshakes:
    """Those under way in this process. ``tell`` gets the events of the limit.

    A source may have as many as are left: one alone has half of them at most, the next one a quarter, and it takes as
    many sources as the limit has bits to leave nothing to the next. ``None`` as a source is this host itself.
    """

    def __init__(self, limit: int, tell: Callable[[Event], None]) -> None:
        self._limit = limit
        self._tell = tell
        self._under_way = 0
        self._turned_away: int | None = None
        self._sources: Counter[str | None] = Counter()

    def begin(self, source: str | None) -> None:
        """One more; raises ``Refused`` (NET-BUSY) if there is no room for it. ``end`` must follow."""
        left = self._limit - self._under_way
        if left <= (0 if source is None else self._sources[source]):
            if self._turned_away is None:
                self._turned_away = 0
                self._tell(LimitReached("handshakes", self._limit, "look at who begins them, or --max-handshakes"))
            self._turned_away += 1
            raise Refused(LinkCode.NET_BUSY, f"{self._under_way} handshakes are under way, {left} more may be")
        self._sources[source] += 1
        self._under_way += 1

    def end(self, source: str | None) -> None:
        """One less."""
        self._under_way -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        if self._turned_away is not None and self._under_way <= self._limit // 4:
            self._tell(LimitLeft("handshakes", self._turned_away))
            self._turned_away = None
