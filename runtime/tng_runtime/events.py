"""What happens to connections, as values; and the one place that makes counts and log lines of them.

Every event is counted. Its line may be a sum: who is refused again and again for one reason gets one line at once and
then at most one a second, which says how often (``times``) and shows the last of them. At debug nothing is summed.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field

from tng_runtime import log
from tng_runtime.errors import ExplainedCode

SUMMED_SECONDS = 1.0
# Sources and reasons whose repetitions are told apart; those beyond share a line for each reason.
MAX_SUMS = 1024


@dataclass(frozen=True, slots=True)
class Who:
    """One connection: its entry's pointer, ``client`` (address:port), where it was going, as far as they are known.

    ``source`` is whose doing it is: the host of the client of an egress, of the destination of an ingress.
    """

    entry: str
    client: str | None
    destination: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection was relayed and has ended; payload in bytes, ``verified`` by which policies (None: not at all)."""

    who: Who
    ending: str
    to_tls: int
    to_plain: int
    group: str | None
    cipher: str | None
    verified: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection was refused."""

    who: Who
    code: ExplainedCode
    detail: str


@dataclass(frozen=True, slots=True)
class Left:
    """A client was gone before its turn."""

    who: Who


@dataclass(frozen=True, slots=True)
class Failed:
    """A bug of ours ended a connection."""

    who: Who
    error: str


@dataclass(frozen=True, slots=True)
class LimitReached:
    """There is no more room for ``what``; ``advice`` says how to make some."""

    what: str
    limit: int
    advice: str


@dataclass(frozen=True, slots=True)
class LimitLeft:
    """There is room again; ``turned_away`` were reset meanwhile."""

    what: str
    turned_away: int


Event = Closed | Refusal | Left | Failed | LimitReached | LimitLeft


@dataclass(slots=True)
class Counts:
    """What happened so far; ``refused`` per code, ``left``: clients that were gone before their turn."""

    relayed: int = 0
    left: int = 0
    refused: Counter[str] = field(default_factory=Counter)


class Events:
    """Takes events in the thread of one running event loop; ``close`` tells of the sums that are still to come."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self._sums: dict[tuple[str, str, str], _Sum] = {}

    def tell(self, event: Event) -> None:
        """Count and log."""
        match event:
            case Closed():
                self.counts.relayed += 1
                _log_closed(event)
            case Refusal():
                self.counts.refused[str(event.code)] += 1
                self._sum(event)
            case Left():
                self.counts.left += 1
                log.debug("left", **_words(event.who))
            case Failed():
                log.error("bug", error=event.error, advice="please report it", **_words(event.who))
            case LimitReached():
                log.warning(f"{event.what}_at_limit", limit=event.limit, advice=event.advice)
            case LimitLeft():
                log.info(f"{event.what}_below_limit", turned_away=event.turned_away)

    def close(self) -> None:
        """Say what is summed; what follows is said at once."""
        for key in tuple(self._sums):
            self._over(key)
            if (again := self._sums.pop(key, None)) is not None:
                again.timer.cancel()

    def _sum(self, refusal: Refusal) -> None:
        key = (refusal.who.entry, refusal.who.source, str(refusal.code))
        if log.tells_all():
            _log_refusal(refusal, 1)
            return
        if key not in self._sums and len(self._sums) >= MAX_SUMS:
            key = ("", "", str(refusal.code))
        if (found := self._sums.get(key)) is None:
            _log_refusal(refusal, 1)
            self._sums[key] = _Sum(self._later(key))
        else:
            found.times += 1
            found.last = refusal

    def _over(self, key: tuple[str, str, str]) -> None:
        found = self._sums.pop(key)
        found.timer.cancel()
        if found.last is not None:
            _log_refusal(found.last, found.times)
            self._sums[key] = _Sum(self._later(key))

    def _later(self, key: tuple[str, str, str]) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(SUMMED_SECONDS, self._over, key)


@dataclass(slots=True)
class _Sum:
    timer: asyncio.TimerHandle
    times: int = 0
    last: Refusal | None = None


def _words(who: Who) -> dict[str, object]:
    return {"entry": who.entry, "client": who.client, "destination": who.destination}


def _log_closed(event: Closed) -> None:
    log.info(
        "closed",
        **_words(event.who),
        ending=event.ending,
        to_tls=event.to_tls,
        to_plain=event.to_plain,
        group=event.group,
        cipher=event.cipher,
        verified="no" if event.verified is None else ",".join(event.verified),
    )


def _log_refusal(event: Refusal, times: int) -> None:
    log.warning(
        "refused",
        code=event.code,
        detail=event.detail,
        advice=event.code.action,
        times=times if times > 1 else None,
        **_words(event.who),
    )
