"""What others do to the table, told by the kernel, and undone.

nftables tells its listeners of each transaction: a message for each thing that was made or removed, then one for the
whole, which names the program (kernel: nf_tables_api.c, nf_tables_gen_notify). Each carries the netlink port of the
socket that asked for it; those of the run's own socket are not news. Whatever else happened to the table, it is loaded
again, without a look at whether it did harm. In the meantime the owned table refuses what it let through.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import anyio

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel import memory, netlink, nftables

# linux/netfilter/nfnetlink.h
_NFNLGRP_NFTABLES = 7
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
# Kernel memory for events that were not read yet: a foreign ruleset of some ten thousand rules fits.
_BUFFER_BYTES = 8 << 20
_RECEIVE_BYTES = 1 << 18
_RETRY_SECONDS = (0.05, 30.0)
_NAMED = 20

_INET = 1  # NFPROTO_INET
_TABLE, _GENERATION = "table", 15
# linux/netfilter/nf_tables.h, enum nf_tables_msg_types: what, whether it was made, and the attribute with its name.
_KINDS = {
    0: (_TABLE, True, 1),
    2: (_TABLE, False, 1),
    3: ("chain", True, 3),
    5: ("chain", False, 3),
    6: ("rule of chain", True, 2),
    8: ("rule of chain", False, 2),
    9: ("set", True, 2),
    11: ("set", False, 2),
    12: ("elements of set", True, 2),
    14: ("elements of set", False, 2),
    18: ("object", True, 2),
    20: ("object", False, 2),
    22: ("flowtable", True, 2),
    24: ("flowtable", False, 2),
}


@dataclass(frozen=True, slots=True)
class Foreign:
    """What somebody else's transaction did to the table: ``by`` is the program, ``changes`` are words for people."""

    by: str
    changes: tuple[str, ...]


_LOST = Foreign("unknown", ("more happened than the kernel had memory to tell",))


@dataclass(slots=True)
class Reader:
    """Messages in, foreign transactions that touched ``inet table`` out; without I/O.

    ``own_port`` is the netlink port whose transactions are ours.
    """

    table: str
    own_port: int
    _changes: dict[str, None] = field(default_factory=dict)

    def read(self, messages: Iterable[netlink.Message]) -> Iterator[Foreign]:
        """Yield the transactions that ended in ``messages``."""
        for event in messages:
            if event.kind >> 8 != netlink.NFTABLES or event.port == self.own_port:
                continue
            kind, found = event.kind & 0xFF, netlink.attributes(event.body[4:])
            if kind == _GENERATION:
                if self._changes:
                    yield Foreign(_program(found), self._told())
                self._changes = {}
            elif kind in _KINDS and event.body[:1] == bytes([_INET]) and netlink.text(found.get(1)) == self.table:
                self._note(*_KINDS[kind], found)

    def _note(self, what: str, made: bool, attribute: int, found: dict[int, bytes]) -> None:
        self._changes[f"{what} {netlink.text(found.get(attribute))} {'added' if made else 'removed'}"] = None

    def _told(self) -> tuple[str, ...]:
        # With the table goes everything in it, each with a message of its own.
        whole = f"{_TABLE} {self.table} "
        return tuple(text for text in self._changes if text.startswith(whole)) or tuple(self._changes)


class Watch:
    """Follows the events of the network namespace of the moment it is made; ``restore`` loads the table again.

    ``restore`` raises ``HostError`` and is tried again.
    """

    def __init__(self, table: str, own_port: int, restore: Callable[[], None]) -> None:
        self._table, self._restore = table, restore
        self._reader = Reader(table, own_port)
        self._socket = netlink.connect(netlink.NETLINK_NETFILTER)
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):  # with a smaller one more is lost, and looked at in whole
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self._socket.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._loaded = ""
        self.changes = 0
        """How often others changed the table since the start."""
        self._seen: list[Foreign] = []

    def loaded(self) -> None:
        """Remember the rules as the kernel lists them now: they were loaded just now.

        A table of many elements is more news than the kernel keeps. What got lost right behind our own load is taken
        for that load's: loading it again for that reason would never end.
        """
        self._seen += [foreign for foreign in self._news() if foreign is not _LOST]
        self._loaded = nftables.listing(self._table, terse=True) or ""
        memory.give_back()

    def drift(self) -> list[str] | None:
        """What the kernel lists now and did not after the load, and the other way round; None: no such table.

        Raises ``HostError``.
        """
        now = nftables.listing(self._table, terse=True)
        return None if now is None else differences(self._loaded, now)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    async def run(self) -> None:
        """Restore what others change, until cancelled."""
        while True:
            if not self._seen:
                await anyio.wait_readable(self._socket)
            foreign, self._seen = [*self._seen, *self._news()], []
            if foreign:
                await self._undo(foreign)

    def _news(self) -> Iterator[Foreign]:
        while True:
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield _LOST
            else:
                yield from self._reader.read(netlink.messages(data))

    async def _undo(self, foreign: list[Foreign]) -> None:
        began, pause = time.monotonic(), _RETRY_SECONDS[0]
        self.changes += 1
        log.error(
            "rules_changed",
            table=self._table,
            by=_joined(transaction.by for transaction in foreign),
            changes=_joined([*self._differences(), *(text for each in foreign for text in each.changes)]),
            meanwhile="what the table let through is refused by the guard of the run",
        )
        while True:
            try:
                self._restore()
                self.loaded()
            except HostError as error:
                log.error("rules_not_restored", reason=error.message, advice=error.hint, next_attempt_seconds=pause)
                await anyio.sleep(pause)
                pause = min(2 * pause, _RETRY_SECONDS[1])
            else:
                log.info("rules_restored", table=self._table, seconds=round(time.monotonic() - began, 3))
                return

    def _differences(self) -> list[str]:
        try:
            return differences(self._loaded, nftables.listing(self._table, terse=True))
        except HostError:
            return []


def differences(before: str, now: str | None) -> list[str]:
    """Say what of the terse listing ``before`` is missing in ``now``, and what is new: chains, sets and rules."""
    if now is None:
        return []
    had, has = _sections(before), _sections(now)
    said = [f"{name} removed" for name in had if name not in has] + [f"{name} added" for name in has if name not in had]
    for name in had.keys() & has.keys():
        said += [f"{name}: {line!r} removed" for line in had[name] if line not in has[name]]
        said += [f"{name}: {line!r} added" for line in has[name] if line not in had[name]]
    return said


def _sections(listing: str) -> dict[str, list[str]]:
    """The lines of a table's listing by chain, set or object; nft indents them by one tabulator, their lines by two."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in listing.splitlines():
        if line.startswith("\t\t"):
            current.append(line.strip())
        elif line.startswith("\t") and line.endswith("{"):
            current = found.setdefault(line.strip(" \t{"), [])
    return found


def _program(found: dict[int, bytes]) -> str:
    # NFTA_GEN_PROC_PID, NFTA_GEN_PROC_NAME
    (pid,) = struct.unpack(">I", found[2]) if len(found.get(2, b"")) == 4 else (0,)
    return f"{netlink.text(found.get(3)) or 'unknown'}[{pid}]"


def _joined(texts: Iterable[str]) -> str:
    unique = list(dict.fromkeys(texts))
    more = [f"and {len(unique) - _NAMED} more"] if len(unique) > _NAMED else []
    return "; ".join([*unique[:_NAMED], *more])
