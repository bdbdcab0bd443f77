"""What happens to connections, as values; and the one place that makes counts and log lines of them.

Every event is counted. Its line may be a sum: who is refused again and again for one reason gets one line at once and
then at most one a second, which says how often (``times``) and shows the last of them. At debug nothing is summed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Literal

from tng_runtime import log
from tng_runtime.counts import Counts, EntryCounts
from tng_runtime.errors import ExplainedCode

Which = Literal["all", "refused", "none"]

# Of the endings of a connection, those that nobody has to look at.
_IN_ORDER = frozenset({"plain_eof", "tls_close_notify"})
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
class Accepted:
    """A connection was taken from the listener of an entry."""

    entry: str


@dataclass(eq=False, slots=True)
class Opened:
    """A connection has passed, and is relayed from now on.

    ``leg`` is the ingress gateway's end of the connection between the gateways, the same on both sides. ``handshake``
    in seconds, from the accepted connection to the verdict. ``verified`` by which policies (None: not at all).
    ``peer`` gives the SHA-256 of the key that the other gateway showed, ``carried`` the payload bytes so far, to TLS
    and to plaintext.
    """

    who: Who
    role: str
    leg: str | None
    handshake: float
    verified: tuple[str, ...] | None
    peer: Callable[[], str | None]
    group: str | None
    cipher: str | None
    carried: Callable[[], tuple[int, int]] = lambda: (0, 0)
    since: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)

    @property
    def heard(self) -> bool:
        """Whether the other gateway sent payload."""
        return self.carried()[1] > 0

    @property
    def sent_and_received(self) -> tuple[int, int]:
        """Payload bytes from the client to its destination, and back."""
        to_tls, to_plain = self.carried()
        return (to_tls, to_plain) if self.role == "ingress" else (to_plain, to_tls)


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection that was relayed has ended; ``reason`` in OpenSSL's words if TLS broke."""

    opened: Opened
    ending: str
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A connection was refused; one that was open already (``opened``), or never was."""

    who: Who
    code: ExplainedCode
    detail: str
    opened: Opened | None = None
    leg: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """A client was gone before its turn."""

    who: Who


@dataclass(frozen=True, slots=True)
class Failed:
    """A bug of ours ended a connection."""

    who: Who
    error: str
    opened: Opened | None = None


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


Event = Accepted | Opened | Closed | Refusal | Left | Failed | LimitReached | LimitLeft


@dataclass(frozen=True, slots=True)
class Access:
    """Which connections have a line; of those that ended in order one of ``one_of``. All are counted."""

    which: Which = "all"
    one_of: int = 1


class Events:
    """Takes events in the thread of one running event loop; ``close`` tells of the sums that are still to come."""

    def __init__(self, counts: Counts, access: Access | None = None) -> None:
        self.counts = counts
        self._access = access or Access()
        self._in_order = 0
        self.open: set[Opened] = set()
        self._sums: dict[tuple[str, str, str], _Sum] = {}

    def tell(self, event: Event) -> None:
        """Count and log."""
        match event:
            case Accepted():
                self.counts.of(event.entry).accepted += 1
            case Opened():
                self._opened(event)
            case Closed():
                self._gone(event.opened).ended[event.ending] += 1
                self._log_closed(event)
            case Refusal():
                self._gone_at_all(event.opened)
                self.counts.of(event.who.entry).refused[str(event.code)] += 1
                if self._access.which != "none":
                    self._sum(event)
            case Left():
                self.counts.of(event.who.entry).left += 1
                log.debug("left", **_words(event.who))
            case Failed():
                self._gone_at_all(event.opened)
                self.counts.of(event.who.entry).bugs += 1
                log.error("bug", error=event.error, advice="please report it", **_words(event.who))
            case LimitReached():
                log.warning(f"{event.what}_at_limit", limit=event.limit, advice=event.advice)
            case LimitLeft():
                log.info(f"{event.what}_below_limit", turned_away=event.turned_away)

    def _log_closed(self, event: Closed) -> None:
        if self._access.which != "all" or not log.tells_info():
            return
        one_of = self._access.one_of
        if one_of > 1 and event.ending in _IN_ORDER:
            self._in_order += 1
            if self._in_order % one_of != 1:
                return
        _log_closed(event, one_of if one_of > 1 and event.ending in _IN_ORDER else None)

    def listed(self, most: int) -> list[dict[str, object]]:
        """``most`` of the open connections, the oldest first, in the words of the access log and with ``since``."""
        oldest = nsmallest(most, self.open, key=lambda each: each.began)
        return [_access(each) | {"since": round(each.since, 3)} for each in oldest]

    def bytes_open(self) -> dict[str, tuple[int, int]]:
        """Payload that open connections have carried so far, sent and received, by entry."""
        found: dict[str, tuple[int, int]] = {}
        for each in self.open:
            before, now = found.get(each.who.entry, (0, 0)), each.sent_and_received
            found[each.who.entry] = (before[0] + now[0], before[1] + now[1])
        return found

    def _opened(self, event: Opened) -> None:
        counts = self.counts.of(event.who.entry)
        counts.opened += 1
        counts.open += 1
        counts.handshakes.add(event.handshake)
        self.open.add(event)

    def _gone_at_all(self, opened: Opened | None) -> None:
        if opened is not None:
            self._gone(opened)

    def _gone(self, opened: Opened) -> EntryCounts:
        counts = self.counts.of(opened.who.entry)
        self.open.discard(opened)
        counts.open -= 1
        sent, received = opened.sent_and_received
        counts.sent += sent
        counts.received += received
        return counts

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
    return {"entry": who.entry, "src": who.client, "dst": who.destination}


def _log_closed(event: Closed, one_of: int | None) -> None:
    words = _access(event.opened)
    refused = None
    if event.reason is not None and "alert" in event.reason:
        refused = "the peer refused this side; its log says why, under the same leg"
    elif event.ending == "tls_broken" and not event.opened.heard:
        refused = "the peer broke off before its first byte: it may have refused this side; look for leg in its log"
    log.info("closed", **words, ending=event.ending, reason=event.reason, advice=refused, one_of=one_of)


def _access(opened: Opened) -> dict[str, object]:
    """The words of the access log."""
    sent, received = opened.sent_and_received
    return {
        **_words(opened.who),
        "direction": "outbound" if opened.role == "ingress" else "inbound",
        "leg": opened.leg,
        "bytes_sent": sent,
        "bytes_received": received,
        "duration": round(time.monotonic() - opened.began, 3),
        "verdict": "none" if opened.verified is None else ",".join(opened.verified),
        "peer": opened.peer(),
        "group": opened.group,
        "cipher": opened.cipher,
    }


def _log_refusal(event: Refusal, times: int) -> None:
    log.warning(
        "refused",
        code=event.code,
        detail=event.detail,
        advice=event.code.action,
        times=times if times > 1 else None,
        **(_words(event.who) | {"leg": event.leg} if event.opened is None else _access(event.opened)),
    )
