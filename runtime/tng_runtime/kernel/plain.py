"""A run that needs no privileges: of a document of doors alone, by a process that may not change rules.

It has no rules and no marks. What captures nothing leaves nothing to refuse, and nothing that its own connections would
have to be told from.
"""

from __future__ import annotations

from dataclasses import replace

from tng_runtime.kernel import nftables
from tng_runtime.kernel.rules import Rules, RulesState
from tng_runtime.kernel.upkeep import Upkeep
from tng_runtime.manifest import Bundle


def is_plain(bundle: Bundle) -> bool:
    """Whether ``bundle`` can do without privileges, and has to."""
    return all(entry.is_door for entry in bundle.manifest.entries) and not nftables.permitted()


def without_marks(bundle: Bundle) -> Bundle:
    """The same with sockets that carry no mark (0)."""
    entries = tuple(replace(entry, so_mark=0) for entry in bundle.manifest.entries)
    return replace(bundle, manifest=replace(bundle.manifest, entries=entries))


class _NoRules(Rules):
    def __init__(self) -> None:
        """Nothing is opened, and nothing to be closed."""

    def install(self) -> None:
        pass

    def own(self) -> None:
        pass

    def restore(self) -> None:
        pass

    def remove(self) -> None:
        pass

    def close(self) -> None:
        pass

    def state(self) -> RulesState:
        return RulesState(table=False, guard=False, drift=(), changes=0, counters={}, needed=False)


class PlainUpkeep(Upkeep):
    """That of a run without rules: there is nothing to keep up."""

    def __init__(self) -> None:
        self.rules = _NoRules()

    def look(self) -> None:
        pass

    def install(self) -> None:
        pass

    async def run(self) -> None:
        """Nothing changes."""

    async def stop(self) -> None:
        pass

    def close(self) -> None:
        pass
