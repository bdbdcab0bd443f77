"""Sums over processes: nothing is lost with the dead, and no process gets nonsense into them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tng_runtime import messages
from tng_runtime.counts import BOUNDS, Asked, Counts, Durations
from tng_runtime.messages import JudgeTally, Tally
from tng_runtime.serve.tally import CODES, ENDINGS, SenselessError, Sums, judge_tally, tallies

POINTERS = ["/add_ingress/0", "/add_egress/0"]
FEW = st.integers(0, 1 << 40)
SECONDS = st.floats(0, 100)


@st.composite
def some_counts(draw: st.DrawFn) -> Counts:
    counts = Counts()
    for pointer in draw(st.sets(st.sampled_from(POINTERS))):
        of = counts.of(pointer)
        of.opened, of.open, of.left, of.bugs, of.sent, of.received = (draw(FEW) for _ in range(6))
        of.ended = Counter(draw(st.dictionaries(st.sampled_from(sorted(ENDINGS)), FEW)))
        of.refused = Counter(draw(st.dictionaries(st.sampled_from(sorted(CODES)), FEW)))
        of.verdicts.kept, of.verdicts.given, of.verdicts.refused = draw(FEW), draw(FEW), draw(FEW)
        for seconds in draw(st.lists(SECONDS, max_size=5)):
            of.handshakes.add(seconds)
            of.verdicts.waited.add(seconds)
    return counts


def through_the_channel(tally: Tally) -> Tally:
    (read,) = messages.Reader().feed(messages.encode(tally))
    assert isinstance(read, Tally)
    return read


@given(st.lists(some_counts(), max_size=4), st.data())
def test_the_sum_is_that_of_all_processes_the_dead_ones_too(workers: list[Counts], data: st.DataObject) -> None:
    sums = Sums(len(POINTERS))
    for process, counts in enumerate(workers):
        for tally in tallies(counts, POINTERS, {}):
            sums.told(process, through_the_channel(tally))
    dead = data.draw(st.sets(st.integers(0, 3)))
    for process in dead:
        sums.bury(process)
    for number, pointer in enumerate(POINTERS):
        total, of = sums.total(number), [counts.of(pointer) for counts in workers]
        for name in ("opened", "left", "bugs", "sent", "received"):
            assert getattr(total, name) == sum(getattr(each, name) for each in of), name
        assert total.open == sum(each.open for process, each in enumerate(of) if process not in dead)
        assert +total.refused == sum((+each.refused for each in of), Counter[str]())
        assert +total.ended == sum((+each.ended for each in of), Counter[str]())
        assert total.handshakes.count == sum(each.handshakes.count for each in of)
        assert total.verdicts.waited.microseconds == sum(each.verdicts.waited.microseconds for each in of)


@given(st.lists(SECONDS, max_size=20))
def test_every_duration_is_in_the_one_bucket_that_it_belongs_to(all_seconds: list[float]) -> None:
    durations = Durations()
    for seconds in all_seconds:
        durations.add(seconds)
    for number, bound in enumerate(BOUNDS):
        assert sum(durations.buckets[: number + 1]) == sum(seconds <= bound for seconds in all_seconds)
    assert durations.count == len(all_seconds)


def a_tally() -> Tally:
    counts = Counts()
    counts.of(POINTERS[1]).refused["TLS-BROKEN"] += 1
    counts.of(POINTERS[1]).ended["plain_eof"] += 1
    (made,) = tallies(counts, POINTERS, {POINTERS[1]: (5, 6)})
    return made


@pytest.mark.parametrize(
    "change",
    [
        {"entry": 2},
        {"entry": -1},
        {"opened": -1},
        {"codes": ("TLS-BROKEN\n",)},
        {"codes": ("TLS-BROKEN", "TLS-BROKEN"), "refused": (1, 2)},
        {"refused": ()},
        {"ended": (-1,)},
        {"endings": ("by a trick",)},
        {"handshakes": (1,)},
        {"verdict_waits": (0,) * 100},
        {"handshake_microseconds": -5},
    ],
    ids=str,
)
def test_a_worker_that_was_taken_over_cannot_get_nonsense_into_the_sums(change: dict[str, object]) -> None:
    sums = Sums(len(POINTERS))
    sums.told(1, a_tally())
    with pytest.raises(SenselessError):
        sums.told(1, replace(a_tally(), **change))  # type: ignore[arg-type]
    assert (sums.total(1).sent, sums.total(1).received) == (5, 6)


def test_calls_of_a_dead_judge_stay_and_its_certificate_goes() -> None:
    sums, agent = Sums(1), Asked()
    agent.tell(0.02, answered=True)
    agent.tell(0.0, answered=False)
    end = datetime(2026, 12, 1, tzinfo=UTC)
    sums.judged(7, judge_tally(0, (end, None), 3, agent, Asked()))
    assert (sums.judge(0).not_after, sums.judge(0).kept, sums.judge(0).agent.failed) == (end, 3, 1)
    sums.bury(7)
    assert (sums.judge(0).not_after, sums.judge(0).kept) == (None, 0)
    assert (sums.judge(0).agent.took.count, sums.judge(0).agent.failed) == (1, 1)
    with pytest.raises(SenselessError):
        sums.judged(8, replace(judge_tally(0, (end, None), 3, agent, Asked()), refusal="no code"))
    assert isinstance(judge_tally(0, (None, None), 0, agent, agent), JudgeTally)


def test_lost_lines_are_summed_and_those_of_the_dead_stay() -> None:
    sums = Sums(1)
    sums.lost(1, 5)
    sums.lost(2, 7)
    sums.lost(1, 6)
    sums.bury(1)
    assert sums.lost_lines() == 13


def test_what_was_refused_in_the_last_hour_is_a_difference_of_samples() -> None:
    sums = Sums(len(POINTERS))
    sums.sample(0.0)
    sums.told(1, a_tally())
    first, last = sums.recent(3600, 100.0)
    assert last.refused - first.refused == {(1, "TLS-BROKEN"): 1}
    sums.sample(110.0)
    first, last = sums.recent(3600, 3650.0)
    assert not last.refused - first.refused
