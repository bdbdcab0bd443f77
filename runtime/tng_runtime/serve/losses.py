"""Whether what the rules redirect arrives at the listeners, by the counters of the table; pure.

``captured`` counts where a connection is redirected, ``arrived`` on the input hook behind the filters of the host:
what is between the two was dropped, each attempt of a client counted. Connections that wait to be accepted, a limit
that is reached or a port scan make no difference. What our own rules refuse in between has counters of its own.

On the way from this host's programs to an ingress no filter has anything to choose: each loss is a fault. At an
egress a filter may choose among strangers, so some losses are worth a line, and only nothing that arrives is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from tng_runtime.manifest import Role
from tng_schema import contract

# Of the table: what our rules drop or refuse of redirected connections, of whichever entry they are.
_OURS = (contract.STRAYED, contract.SQUATTED)


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one entry, since its table was loaded; at most ``ours`` of the ``captured`` were refused by our own rules."""

    captured: int
    arrived: int
    ours: int = 0

    @classmethod
    def of(cls, counters: Mapping[str, int], pointer: str) -> Self | None:
        """Those of the entry at ``pointer`` (``/add_ingress/0``); None if the rules do not count them."""
        name = pointer.removeprefix("/add_").replace("/", "_")
        captured, arrived = counters.get(f"{name}{contract.CAPTURED}"), counters.get(f"{name}{contract.ARRIVED}")
        if captured is None or arrived is None:
            return None
        return cls(captured, arrived, sum(counters.get(each, 0) for each in _OURS))

    @property
    def missing(self) -> int:
        """What was redirected and has not arrived; some of it may be on its way."""
        return self.captured - self.arrived - self.ours


@dataclass(frozen=True, slots=True)
class Loss:
    """Since all was well so many were captured, of which ``arrived`` did; ``fault``: it is one in any case."""

    captured: int
    arrived: int
    fault: bool


class Losses:
    """What is lost on the way to one entry, from look to look; ``now`` is the loss that lasts.

    That a filter chooses is told once.
    """

    def __init__(self, role: Role) -> None:
        self._role = role
        self._chosen = False
        self.now: Loss | None = None
        self._begin(Figures(0, 0))

    def _begin(self, last: Figures) -> None:
        self._last = self._well = last
        self._lost = 0
        self._quiet = False

    def look(self, figures: Figures) -> Loss | None:
        """Compare with the look before; the loss if it has just begun.

        What was missing then and is missing still is not on its way.
        """
        last = self._last
        if figures.captured < last.captured:  # the table was loaded anew
            self._begin(figures)
            return None
        self._last = figures
        lost = min(last.missing, figures.missing)
        fresh, self._lost = lost > self._lost, max(lost, self._lost)
        arrives = figures.arrived > last.arrived
        quiet = not arrives and figures.missing > last.missing
        total, self._quiet = quiet and self._quiet, quiet
        if arrives and not fresh and figures.missing <= self._lost:
            self._well, self.now = figures, None
            return None
        fault = self._role == "ingress" or total
        if not fresh or (self.now is not None and self.now.fault) or (self._chosen and not fault):
            return None
        well, self._chosen = self._well, True
        self.now = Loss(figures.captured - well.captured, figures.arrived - well.arrived, fault)
        return self.now
