"""Sets of integers as sorted, disjoint, non-adjacent inclusive intervals. All operations are linear merges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

Interval = tuple[int, int]

_ABOVE = 1 << 129


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """Return the normal form of any intervals, overlapping or not."""
    merged: list[Interval] = []
    for first, last in sorted(intervals):
        if merged and first <= merged[-1][1] + 1:
            if last > merged[-1][1]:
                merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


def subtract(left: Sequence[Interval], right: Sequence[Interval]) -> list[Interval]:
    """Return what is in ``left`` and not in ``right``; both in normal form."""
    result: list[Interval] = []
    for first, last in left:
        rest = first
        for cut_first, cut_last in _touching(right, first, last):
            if cut_first > rest:
                result.append((rest, cut_first - 1))
            rest = cut_last + 1
        if rest <= last:
            result.append((rest, last))
    return result


def intersect(left: Sequence[Interval], right: Sequence[Interval]) -> list[Interval]:
    """Return what is in both; both in normal form."""
    return [
        (max(first, other_first), min(last, other_last))
        for first, last in left
        for other_first, other_last in _touching(right, first, last)
    ]


def touching(intervals: Sequence[Interval], first: int, last: int) -> int:
    """How many of ``intervals``, in normal form, share an integer with ``first`` to ``last``; logarithmic."""
    start = bisect_left(intervals, (first, first))
    if start and intervals[start - 1][1] >= first:
        start -= 1
    return bisect_right(intervals, (last, _ABOVE)) - start


def _touching(intervals: Sequence[Interval], first: int, last: int) -> Iterable[Interval]:
    """Those of ``intervals`` that share an integer with ``first`` to ``last``."""
    index = bisect_left(intervals, (first, first))
    if index and intervals[index - 1][1] >= first:
        index -= 1
    while index < len(intervals) and intervals[index][0] <= last:
        yield intervals[index]
        index += 1
