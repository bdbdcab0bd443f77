"""Counts of a process to messages and back, and their sums over all processes, the dead ones too.

A worker that was taken over says what it likes. It can falsify its own figures; names that are not ours, other numbers
of buckets or negative ones are senseless, and end it.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from tng_runtime.accept.lifecycle import Event
from tng_runtime.attest.codes import Code
from tng_runtime.counts import BOUNDS, Asked, Counts, Durations, EntryCounts
from tng_runtime.errors import ExplainedCode, LinkCode
from tng_runtime.messages import JudgeTally, Tally

CODES: dict[str, ExplainedCode] = {str(code): code for kind in (Code, LinkCode) for code in kind}
ENDINGS = frozenset(event.name.lower() for event in Event)
# Of samples, for rates and for what was refused lately.
SAMPLE_SECONDS = 10.0
HOUR_SECONDS = 3600.0


class SenselessError(Exception):
    """No honest process says that."""


def tallies(counts: Counts, entries: Sequence[str], bytes_open: dict[str, tuple[int, int]]) -> list[Tally]:
    """What to tell of each entry of which there is anything to tell; ``entries`` are pointers by number."""
    return [
        _tally(number, counts.entries[pointer], *bytes_open.get(pointer, (0, 0)))
        for number, pointer in enumerate(entries)
        if pointer in counts.entries
    ]


def _tally(number: int, counts: EntryCounts, sent: int, received: int) -> Tally:
    verdicts = counts.verdicts
    return Tally(
        entry=number,
        accepted=counts.accepted,
        opened=counts.opened,
        open=counts.open,
        left=counts.left,
        bugs=counts.bugs,
        sent=counts.sent + sent,
        received=counts.received + received,
        endings=tuple(counts.ended),
        ended=tuple(counts.ended.values()),
        codes=tuple(counts.refused),
        refused=tuple(counts.refused.values()),
        handshakes=tuple(counts.handshakes.buckets),
        handshake_microseconds=counts.handshakes.microseconds,
        verdicts_kept=verdicts.kept,
        verdicts_given=verdicts.given,
        verdicts_refused=verdicts.refused,
        verdict_waits=tuple(verdicts.waited.buckets),
        verdict_microseconds=verdicts.waited.microseconds,
    )


@dataclass(frozen=True, slots=True)
class JudgeCounts:
    """How an entry stands with the judge of the moment; calls are those of all judges so far."""

    not_after: datetime | None = None
    refusal: str | None = None
    kept: int = 0
    agent: Asked = field(default_factory=Asked)
    service: Asked = field(default_factory=Asked)


@dataclass(frozen=True, slots=True)
class Sample:
    """Sums over all entries at ``at``, seconds of the monotonic clock; refusals by entry and code."""

    at: float
    opened: int
    sent: int
    received: int
    refused: Counter[tuple[int, str]]


class Sums:
    """What the processes of an instance told, by their numbers; ``size`` is how many entries there are."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._living: dict[int, dict[int, Tally]] = {}
        self._judging: dict[int, dict[int, JudgeTally]] = {}
        self._gone = [EntryCounts() for _ in range(size)]
        self._judged = [(Asked(), Asked()) for _ in range(size)]
        self._lost: dict[int, int] = {}
        self._lost_of_gone = 0
        self._samples: deque[Sample] = deque(maxlen=round(HOUR_SECONDS / SAMPLE_SECONDS) + 1)

    def told(self, process: int, tally: Tally) -> None:
        """A worker's word; raises ``SenselessError``."""
        names = set(tally.endings) <= ENDINGS and set(tally.codes) <= CODES.keys()
        pairs = ((tally.endings, tally.ended), (tally.codes, tally.refused))
        paired = all(len(set(names)) == len(names) == len(numbers) for names, numbers in pairs)
        numbers = (
            *(
                tally.opened,
                tally.open,
                tally.left,
                tally.bugs,
                tally.sent,
                tally.received,
                *tally.ended,
                *tally.refused,
            ),
            *(tally.accepted, tally.verdicts_kept, tally.verdicts_given, tally.verdicts_refused),
        )
        self._require(names and paired and min(numbers) >= 0)
        self._require_durations(tally.handshakes, tally.handshake_microseconds)
        self._require_durations(tally.verdict_waits, tally.verdict_microseconds)
        self._require(0 <= tally.entry < self._size)
        self._living.setdefault(process, {})[tally.entry] = tally

    def judged(self, process: int, tally: JudgeTally) -> None:
        """A judge's word; raises ``SenselessError``."""
        self._require(0 <= tally.entry < self._size and min(tally.kept, tally.agent_failed, tally.service_failed) >= 0)
        self._require(tally.refusal is None or tally.refusal in CODES)
        self._require_durations(tally.agent, tally.agent_microseconds)
        self._require_durations(tally.service, tally.service_microseconds)
        self._judging.setdefault(process, {})[tally.entry] = tally

    def lost(self, process: int, lines: int) -> None:
        """Lines of the log that a process dropped; raises ``SenselessError``."""
        self._require(lines >= 0)
        self._lost[process] = lines

    def bury(self, process: int) -> None:
        """A process has ended: what it did stays, what it had open is gone."""
        for entry, tally in self._living.pop(process, {}).items():
            _add(self._gone[entry], tally)
            self._gone[entry].open = 0
        for entry, judged in self._judging.pop(process, {}).items():
            _add_calls(self._judged[entry], judged)
        self._lost_of_gone += self._lost.pop(process, 0)

    def total(self, entry: int) -> EntryCounts:
        """What happened in one entry so far."""
        total = EntryCounts()
        _add(total, _tally(entry, self._gone[entry], 0, 0))
        for tallies in self._living.values():
            if (tally := tallies.get(entry)) is not None:
                _add(total, tally)
        return total

    def judge(self, entry: int) -> JudgeCounts:
        """How one entry stands."""
        calls = (Asked(), Asked())
        for mine, gone in zip(calls, self._judged[entry], strict=True):
            mine.took.merge(gone.took.buckets, gone.took.microseconds)
            mine.failed = gone.failed
        last: JudgeTally | None = None
        for tallies in self._judging.values():
            if (last := tallies.get(entry, last)) is not None and entry in tallies:
                _add_calls(calls, last)
        known = (None, None, 0) if last is None else (last.not_after, last.refusal, last.kept)
        return JudgeCounts(*known, *calls)

    def lost_lines(self) -> int:
        """Lines that were dropped by all children so far."""
        return self._lost_of_gone + sum(self._lost.values())

    def sample(self, now: float | None = None) -> None:
        """Remember the sums of this moment; to be called every ``SAMPLE_SECONDS``."""
        self._samples.append(self._sampled(time.monotonic() if now is None else now))

    def recent(self, seconds: float, now: float | None = None) -> tuple[Sample, Sample]:
        """The oldest sample that is not older than ``seconds``, and one of now."""
        last = self._sampled(time.monotonic() if now is None else now)
        first = next((each for each in self._samples if last.at - each.at <= seconds), None)
        return first or Sample(last.at, last.opened, last.sent, last.received, last.refused), last

    def _sampled(self, at: float) -> Sample:
        totals = [self.total(entry) for entry in range(self._size)]
        refused = Counter({(n, code): count for n, each in enumerate(totals) for code, count in each.refused.items()})
        opened, sent = sum(each.opened for each in totals), sum(each.sent for each in totals)
        return Sample(at, opened, sent, sum(each.received for each in totals), refused)

    def _require_durations(self, buckets: Sequence[int], microseconds: int) -> None:
        self._require(len(buckets) == len(BOUNDS) + 1 and min(*buckets, microseconds) >= 0)

    @staticmethod
    def _require(sensible: bool) -> None:
        if not sensible:
            raise SenselessError


def _add(total: EntryCounts, tally: Tally) -> None:
    total.accepted += tally.accepted
    total.opened += tally.opened
    total.open += tally.open
    total.left += tally.left
    total.bugs += tally.bugs
    total.sent += tally.sent
    total.received += tally.received
    total.ended.update(dict(zip(tally.endings, tally.ended, strict=True)))
    total.refused.update(dict(zip(tally.codes, tally.refused, strict=True)))
    total.handshakes.merge(tally.handshakes, tally.handshake_microseconds)
    total.verdicts.kept += tally.verdicts_kept
    total.verdicts.given += tally.verdicts_given
    total.verdicts.refused += tally.verdicts_refused
    total.verdicts.waited.merge(tally.verdict_waits, tally.verdict_microseconds)


def _add_calls(calls: tuple[Asked, Asked], tally: JudgeTally) -> None:
    agent, service = calls
    agent.took.merge(tally.agent, tally.agent_microseconds)
    agent.failed += tally.agent_failed
    service.took.merge(tally.service, tally.service_microseconds)
    service.failed += tally.service_failed


def judge_tally(
    entry: int, state: tuple[datetime | None, str | None], kept: int, agent: Asked, service: Asked
) -> JudgeTally:
    """What the judge tells of one entry; ``state`` is its certificate's end and the last refusal."""

    def plain(took: Durations) -> tuple[tuple[int, ...], int]:
        return tuple(took.buckets), took.microseconds

    return JudgeTally(entry, *state, kept, *plain(agent.took), agent.failed, *plain(service.took), service.failed)
