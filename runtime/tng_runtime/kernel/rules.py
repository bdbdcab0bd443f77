"""The rules of one run: the table of the ruleset and the owned guard, loaded, kept and removed together.

The ruleset is loaded first and the guard after it: each replaces what a killed run left, and while one is being
replaced the other refuses. All goes through the context that owns the guard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tng_runtime.kernel import captured, memory, nftables, way_back
from tng_runtime.kernel.owned import OwnedTable
from tng_runtime.kernel.watch import Watch
from tng_runtime.manifest import Bundle


@dataclass(frozen=True, slots=True)
class RulesState:
    """Whether both tables are there, what differs from what was loaded, how often others changed it; packets counted.

    ``counters`` by table and name. Not ``needed``: the run captures nothing, and has none.
    """

    table: bool
    guard: bool
    drift: tuple[str, ...]
    changes: int
    counters: dict[str, dict[str, int]]
    needed: bool = True


class Rules:
    """The rules of ``bundle``; ``fill`` gives the nft commands that fill the sets of one of the tables."""

    def __init__(self, bundle: Bundle, fill: Callable[[str], str] = lambda _: "") -> None:
        self._bundle, self._fill = bundle, fill
        self._table = bundle.manifest.table
        self._guard = OwnedTable(bundle.manifest.guard_table)
        self._watch = Watch(self._table, self._guard.port, self.restore)

    def install(self) -> None:
        """Load both tables; raises ``HostError``."""
        nftables.require_alone(self._table)
        self.restore()
        self.own()

    def own(self) -> None:
        """Load the guard, which nobody else owns any more, after ``restore``; raises ``HostError``."""
        guard = self._bundle.manifest.guard_table
        self._guard.replace(self._bundle.guard, lambda: self._fill(guard))
        self._watch.loaded()
        self._forget()

    def restore(self) -> None:
        """Load the table of the ruleset, in place of what is there; raises ``HostError``.

        After it comes what answers to clients need to come back, outside of the tables: until then they are dropped,
        and where it cannot be had the rules refuse.
        """
        nftables.load(self._bundle.ruleset, self._table, lambda: self._fill(self._table), self._guard.context)
        way_back.keep(self._table, self._bundle.manifest.way_back)
        self._forget()

    def state(self) -> RulesState:
        """How the rules stand in the kernel; raises ``HostError``."""
        drift = self._watch.drift()
        there = nftables.exists(self._guard.table)
        counted = {table: nftables.counters(table) for table in (self._table, self._guard.table)}
        memory.give_back()
        return RulesState(drift is not None, there, tuple(drift or ()), self._watch.changes, counted)

    def change(self, commands: str) -> bool:
        """Execute nft commands on both tables, like ``nftables.change``."""
        return nftables.change(commands, self._guard.context)

    async def watch(self) -> None:
        """Undo what others do to the table, until cancelled."""
        await self._watch.run()

    def remove(self) -> None:
        """End the applications' sockets that were captured, and remove both tables; raises ``HostError``."""
        captured.end(self._table)
        nftables.remove(self._table, self._bundle.manifest.guard_table, context=self._guard.context)
        way_back.keep(self._table, None)

    def close(self) -> None:
        """Give up the ownership of the guard, and leave the rules."""
        self._watch.close()
        self._guard.close()

    def _forget(self) -> None:
        """What was read to be loaded is needed no more."""
        self._guard.free_context()
        memory.give_back()
