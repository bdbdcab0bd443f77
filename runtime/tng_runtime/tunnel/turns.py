"""Who is next where not all can be served at once: the attestation service, the attestation agent.

One queue for each source, and the sources take turns: who sends three hundred peers waits for their own, and a peer of
somebody else is next. No source has more than half of the places, so there is one for others at once, however
long each call takes. Both the queue of a source and all of them together are bounded; when there are too many, the
longest queue loses its newest.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import lru_cache

import anyio

from tng_runtime.errors import ExplainedCode, Refused

MAX_OF_SOURCE = 64
MAX_WAITING = 1024


@dataclass(slots=True, eq=False)
class _Waiter:
    called: anyio.Event = field(default_factory=anyio.Event)
    served: bool = False


@dataclass(slots=True)
class _Source:
    served: int = 0
    waiting: deque[_Waiter] = field(default_factory=deque)


class Turns:
    """``at_once`` are served at a time; who finds the queue full is refused with ``code``."""

    def __init__(
        self,
        at_once: int,
        code: ExplainedCode,
        *,
        max_of_source: int = MAX_OF_SOURCE,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._at_once = at_once
        self._share = max(1, at_once // 2)
        self._code = code
        self._max_of_source = max_of_source
        self._max_waiting = max_waiting
        # In the order in which their next ones are served.
        self._sources: dict[str, _Source] = {}
        self._served = self._waiting = 0

    @contextlib.asynccontextmanager
    async def turn(self, source: str) -> AsyncIterator[None]:
        """Wait for the turn of ``source`` and keep it; raises ``Refused`` when too many wait."""
        await self._take(source)
        try:
            yield
        finally:
            self._leave(source)

    async def _take(self, name: str) -> None:
        source = self._sources.setdefault(name, _Source())
        if self._served < self._at_once and source.served < self._share:
            # Whoever waits then waits for a place of its own source.
            self._serve(source)
            return
        waiter = _Waiter()
        source.waiting.append(waiter)
        self._waiting += 1
        if len(source.waiting) > self._max_of_source:
            self._drop(source)
        elif self._waiting > self._max_waiting:
            self._drop(max(self._sources.values(), key=lambda each: len(each.waiting)))
        try:
            await waiter.called.wait()
        except BaseException:
            if waiter.served:
                self._leave(name)
            elif waiter in source.waiting:
                source.waiting.remove(waiter)
                self._waiting -= 1
                self._forget(name)
            raise
        if not waiter.served:
            self._forget(name)
            raise Refused(self._code, f"{self._served} are served and {self._waiting} wait")

    def _drop(self, source: _Source) -> None:
        source.waiting.pop().called.set()
        self._waiting -= 1

    def _serve(self, source: _Source) -> None:
        source.served += 1
        self._served += 1

    def _leave(self, name: str) -> None:
        self._sources[name].served -= 1
        self._served -= 1
        self._forget(name)
        ready = (each for each, source in self._sources.items() if source.waiting and source.served < self._share)
        if (following := next(ready, None)) is not None:
            source = self._sources[following] = self._sources.pop(following)
            waiter = source.waiting.popleft()
            self._waiting -= 1
            self._serve(source)
            waiter.served = True
            waiter.called.set()

    def _forget(self, name: str) -> None:
        source = self._sources.get(name)
        if source is not None and not source.served and not source.waiting:
            del self._sources[name]


@lru_cache(maxsize=1024)
def network_of(host: str) -> str:
    """Whose doing it is what ``host`` does: an IPv4 address, or 64 bits of IPv6, which anybody has (RFC 6177)."""
    try:
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return host
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False).network_address)
