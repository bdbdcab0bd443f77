"""How much may be compared before an analysis gives up."""

from __future__ import annotations


class BudgetSpentError(Exception):
    """More was named that overlaps than can be compared in reasonable time."""


class Budget:
    """Steps that are left; one takes about a microsecond."""

    def __init__(self, steps: float) -> None:
        self._left = steps

    def spend(self, steps: int) -> None:
        """Take ``steps``; raises ``BudgetSpentError`` if there were less."""
        self._left -= steps
        if self._left < 0:
            raise BudgetSpentError
