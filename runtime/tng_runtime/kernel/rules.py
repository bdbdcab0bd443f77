"""The rules of one run: the table of the ruleset and the owned guard, loaded, kept and removed together.

The ruleset is loaded first and the guard after it: each replaces what a killed run left, and while one is being
replaced the other refuses. All goes through the context that owns the guard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tng_runtime.kernel import captured, memory, nftables
from tng_runtime.kernel.owned import OwnedTable
from tng_runtime.kernel.watch import Watch
from tng_runtime.manifest import Bundle


class Rules:
    """The rules of ``bundle``; ``fill`` gives the nft commands that fill the sets of one of the tables."""

    def __init__(self, bundle: Bundle, fill: Callable[[str], str] = lambda _: "") -> None:
        self._bundle, self._fill = bundle, fill
        self._table = bundle.manifest.table
        self._guard = OwnedTable(bundle.manifest.guard_table)
        self._watch = Watch(self._table, self._guard.port, self._free_sets(), self.restore)

    def install(self) -> None:
        """Load both tables; raises ``HostError``."""
        self.restore()
        self.own()

    def own(self) -> None:
        """Load the guard, which nobody else owns any more, after ``restore``; raises ``HostError``."""
        guard = self._bundle.manifest.guard_table
        self._guard.replace(self._bundle.guard, lambda: self._fill(guard))
        self._watch.loaded()
        self._forget()

    def restore(self) -> None:
        """Load the table of the ruleset, in place of what is there; raises ``HostError``."""
        nftables.load(self._bundle.ruleset, self._table, lambda: self._fill(self._table), self._guard.context)
        self._forget()

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

    def close(self) -> None:
        """Give up the ownership of the guard, and leave the rules."""
        self._watch.close()
        self._guard.close()

    def _forget(self) -> None:
        """What was read to be loaded is needed no more."""
        self._guard.free_context()
        memory.give_back()

    def _free_sets(self) -> Iterable[str]:
        return ()
