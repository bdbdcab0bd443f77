"""Did you mean: the nearest of the names that could stand here."""

from __future__ import annotations

from collections.abc import Iterable


def distance(left: str, right: str) -> int:
    """Return the edit distance with transpositions of neighbours (optimal string alignment)."""
    before: list[int] = []
    previous = list(range(len(right) + 1))
    for row, char in enumerate(left, 1):
        current = [row]
        for column, other in enumerate(right, 1):
            cost = min(previous[column] + 1, current[-1] + 1, previous[column - 1] + (char != other))
            if row > 1 and column > 1 and char == right[column - 2] and left[row - 2] == other:
                cost = min(cost, before[column - 2] + 1)
            current.append(cost)
        before, previous = previous, current
    return previous[-1]


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that ``name`` probably meant, None when all are too far (a third of the length)."""
    if len(name) > 64:
        return None
    folded = name.lower().replace("-", "_").replace(" ", "_")
    scored = sorted((distance(folded, candidate), candidate) for candidate in candidates)
    if scored and scored[0][0] <= max(1, (min(len(folded), len(scored[0][1])) + 1) // 3):
        return scored[0][1]
    contained = [
        candidate for candidate in candidates if len(folded) >= 4 and (folded in candidate or candidate in folded)
    ]
    return contained[0] if len(contained) == 1 else None
