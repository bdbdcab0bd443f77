"""The operator's ipsets of the kernel, copied into the sets of the tables when they are loaded, and followed.

nft cannot read an ipset, and whoever writes ``ipset`` into a configuration fills one of the kernel (ipset(8)). Of its
changes the kernel tells nobody, so it is asked again and again: what is added is captured about a second later, what
is taken out is captured that much longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import anyio
import anyio.to_thread

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel import nftables
from tng_runtime.kernel.ipset_save import Interval, Saved, read, written
from tng_runtime.manifest import Family, Ipset

POLL_SECONDS = 1.0
# A large set takes long to read: at most this share of one core.
_SHARE = 0.05
_LONGEST_PAUSE = 30.0
_QUIET_SECONDS = 60.0

Content = Mapping[str, tuple[Interval, ...] | None]
"""By the name of the set in the tables; None where the kernel has no ipset for it."""


def look(ipsets: Sequence[Ipset]) -> Content:
    """Read the ipsets: NAME for IPv4, and NAME6 for IPv6, or NAME if that is the one whose family is inet6.

    Raises ``HostError`` if one cannot be read or is of a type or family that does not fit.
    """
    found: dict[str, tuple[Interval, ...] | None] = {}
    for name in dict.fromkeys(item.ipset for item in ipsets):
        wanted: dict[Family, str] = {item.family: item.set for item in ipsets if item.ipset == name}
        for family, saved in _families(name, six="ipv6" in wanted).items():
            if family in wanted:
                found[wanted[family]] = saved.intervals if saved else None
    return found


def _families(name: str, *, six: bool) -> dict[Family, Saved | None]:
    plain, other = read(name), read(f"{name}6") if six else None
    if other and other.family != "ipv6":
        raise HostError(
            f"the ipset {name}6 has addresses of IPv4, and is where `ipset: {name}` has those of IPv6",
            hint=f"rename it, or make it again: `ipset create {name}6 hash:net family inet6`",
        )
    if plain and plain.family == "ipv6":
        if other:
            raise HostError(
                f"the ipsets {name} and {name}6 both have addresses of IPv6: which of them is `ipset: {name}`?",
                hint=f"keep IPv4 in {name} (family inet) and IPv6 in {name}6 (family inet6)",
            )
        return {"ipv4": None, "ipv6": plain}
    return {"ipv4": plain, "ipv6": other}


class Follower:
    """Keeps the sets of ``tables`` in step with the ipsets of the kernel."""

    def __init__(self, tables: Sequence[str], ipsets: Sequence[Ipset]) -> None:
        self._tables, self._ipsets = tuple(tables), tuple(ipsets)
        self._families = {item.set: item.family for item in ipsets}
        self._content: dict[str, tuple[Interval, ...]] | None = None
        self._left: dict[str, str] = {}
        self._absent: frozenset[str] = frozenset()
        self._problem = ""
        self._told = dict.fromkeys(self._families, float("-inf"))

    def start(self) -> None:
        """Look for the first time. Raises ``HostError`` where the kernel has no ipset, or none that can be followed."""
        content = look(self._ipsets)
        for name in dict.fromkeys(item.ipset for item in self._ipsets):
            sets = {item.set: item.family for item in self._ipsets if item.ipset == name}
            if all(content[one] is None for one in sets):
                kind = "" if "ipv4" in sets.values() else " family inet6"
                raise HostError(
                    f"the kernel has no ipset {name} for {' or '.join(sets.values())}, and its addresses are captured",
                    hint=f"make it before the start: `ipset create {name} hash:net{kind}`, empty if it has to be",
                )
        for one in sorted(one for one in content if content[one] is None):
            log.info("ipset_absent", set=one, family=self._families[one], meaning="it has no addresses to capture")
        self._absent = frozenset(one for one in content if content[one] is None)
        self._content = {one: intervals or () for one, intervals in content.items()}

    def commands(self, table: str) -> str:
        """The nft commands that belong into the transaction that loads ``inet table``: what was seen last.

        Where the start is refused because nothing could be seen, that is what the rules of an earlier run hold.
        """
        if self._content is not None:
            return self._filled(table, self._content)
        self._left = self._left or {
            item.set: next(filter(None, (nftables.elements(one, item.set) for one in self._tables)), "")
            for item in self._ipsets
        }
        return "".join(
            f"add element inet {table} {one} {{ {elements} }}\n" for one, elements in self._left.items() if elements
        )

    async def run(self, change: Callable[[str], object] = nftables.change) -> None:
        """Follow the changes until it is cancelled; a failure is logged and tried again, and opens nothing.

        ``change`` executes nft commands in one transaction: who owns one of the tables brings its own.
        """
        pause = POLL_SECONDS
        while self._ipsets:
            await anyio.sleep(pause)
            before = time.monotonic()
            try:
                self._take(await anyio.to_thread.run_sync(look, self._ipsets, abandon_on_cancel=True), change)
            except HostError as error:
                if error.message != self._problem:
                    log.error("ipset_not_followed", reason=error.message, meaning="what it held is still captured")
                self._problem = error.message
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                self._problem = ""
                pause = max(POLL_SECONDS, (time.monotonic() - before) / _SHARE)

    def _take(self, content: Content, change: Callable[[str], object]) -> None:
        """Write down what is new in ``content``. What an ipset held that is gone stays."""
        old = self._content or {}
        new = {one: old.get(one, ()) if intervals is None else intervals for one, intervals in content.items()}
        changed = {one: intervals for one, intervals in new.items() if intervals != old.get(one)}
        if changed:
            change("".join(self._filled(table, changed) for table in self._tables))
        self._content = new
        absent = frozenset(one for one, intervals in content.items() if intervals is None)
        for one in sorted(absent - self._absent):
            log.error("ipset_gone", set=one, meaning="what it held is still captured", intervals=len(new[one]))
        for one in sorted(self._absent - absent):
            log.info("ipset_back", set=one, intervals=len(new[one]))
        self._absent = absent
        for one in sorted(changed):
            self._say_changed(one, len(old.get(one, ())), len(new[one]))

    def _say_changed(self, one: str, before: int, after: int) -> None:
        now = time.monotonic()
        say = log.debug if now - self._told[one] < _QUIET_SECONDS else log.info
        say("ipset_changed", set=one, intervals=after, before=before)
        if say is log.info:
            self._told[one] = now

    def _filled(self, table: str, content: Mapping[str, tuple[Interval, ...]]) -> str:
        lines = [f"flush set inet {table} {one}\n" for one in sorted(content)]
        for one in sorted(content):
            elements = [written(self._families[one], interval) for interval in content[one]]
            lines += [f"add element inet {table} {one} {{ {', '.join(elements)} }}\n"] if elements else []
        return "".join(lines)
