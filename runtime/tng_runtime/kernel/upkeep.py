"""The rules of one run and whatever keeps them up to date: the watch, the cgroups and the ipsets of the host."""

from __future__ import annotations

import anyio

from tng_runtime.kernel import cgroups, ipsets, way_back
from tng_runtime.kernel.rules import Rules
from tng_runtime.manifest import Bundle


class Upkeep:
    """The rules of ``bundle``; made again when they were given up and are to be taken back."""

    def __init__(self, bundle: Bundle) -> None:
        manifest = bundle.manifest
        tables = (manifest.table, manifest.guard_table)
        self._table, self._way_back = manifest.table, manifest.way_back
        self._follower = cgroups.Follower(tables, manifest.cgroups)
        self._addresses = ipsets.Follower(tables, manifest.ipsets)
        self.rules = Rules(bundle, self._fill)
        self._scope = anyio.CancelScope()
        self._ended = anyio.Event()

    def look(self) -> None:
        """Look at the host for the first time; raises ``HostError`` where it lacks an ipset."""
        self._addresses.start()

    def install(self) -> None:
        """``look``, and load both tables, in any case; raises ``HostError``."""
        try:
            self.look()
        finally:
            self.rules.install()

    async def run(self) -> None:
        """Follow what others change, until ``stop``."""
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self.rules.watch)
                    tasks.start_soon(self._addresses.run, self.rules.change)
                    tasks.start_soon(self._follow_cgroups)
                    if self._way_back is not None:
                        tasks.start_soon(way_back.watch, self._table, self._way_back)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Return when nothing is followed any more."""
        self._scope.cancel()
        await self._ended.wait()

    def close(self) -> None:
        """Give up the ownership of the guard, and leave the rules."""
        self.rules.close()

    async def _follow_cgroups(self) -> None:
        await self._follower.run(self.rules.change)

    def _fill(self, table: str) -> str:
        return self._addresses.commands(table) + self._follower.closed_commands(table)
