"""The guard once more, in a table that this process owns: nobody else can flush, change or delete it.

A table with the flag ``owner`` belongs to the netlink socket that made it: requests of other sockets are answered with
EPERM, and ``flush ruleset`` passes it by (kernel: nf_tables_api.c, nft_table_has_owner). It ends with that socket; with
``persist`` (Linux 6.9) it becomes an ordinary table instead, and goes on to refuse when its owner is dead.

nft 1.0.6 has no word for ``persist``, and a context of libnftables has one netlink socket for its life. So the table is
made by hand through the context's own socket, and filled by libnftables, as its owner. Everything else that a run
changes in the kernel goes through the same socket: by its port its own changes are told from those of others.

A context remembers what it has loaded, 2 KiB for each element of a set, until it is freed. So it is freed after a load;
the socket stays, and is put in the place of the one that the next context opens.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable
from contextlib import suppress

from tng_runtime.errors import HostError
from tng_runtime.kernel import netlink, nftables

# linux/netfilter/nf_tables.h
_NEWTABLE, _DELTABLE = netlink.NFTABLES << 8 | 0, netlink.NFTABLES << 8 | 2
_TABLE_NAME, _TABLE_FLAGS = 1, 2
_OWNER, _PERSIST = 2, 4
_INET = 1  # NFPROTO_INET


class OwnedTable:
    """``inet table``, owned by this object from ``replace`` until ``close`` or the end of the process."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._context: nftables.Context | None
        self._context, self._socket = _context_with_its_socket()
        self.persists = False

    @property
    def context(self) -> nftables.Context:
        """A context that speaks through the socket of the owner. Raises ``HostError``."""
        if (context := self._context) is None:
            context, _ = _context_with_its_socket(self._socket)
            self._context = context
        return context

    def free_context(self) -> None:
        """Forget what was loaded; another context is made when one is needed."""
        self._context = None

    @property
    def port(self) -> int:
        """The netlink port of the context, which names this run in the kernel's events."""
        return int(self._socket.getsockname()[0])

    def replace(self, commands: str, fill: Callable[[], str] = lambda: "") -> None:
        """Put an owned table with the content that nft ``commands`` and ``fill`` add in place of what is there.

        For a moment the table is there and empty: the rules of the other table hold meanwhile. Raises ``HostError``.
        """
        self._make()
        nftables.execute(self.context, commands, fill, f"table inet {self.table} was not filled")

    def close(self) -> None:
        """Give up the ownership; the table goes, or with ``persists`` becomes an ordinary one."""
        self._context = None
        self._socket.close()

    def _make(self) -> None:
        name = netlink.attribute(_TABLE_NAME, self.table.encode() + b"\0")
        head = netlink.nfgenmsg(_INET)
        there = nftables.exists(self.table, self.context)
        stale = [netlink.message(_DELTABLE, 0, head + name)] if there else []
        for flags in (_OWNER | _PERSIST, _OWNER):
            body = head + name + netlink.attribute(_TABLE_FLAGS, struct.pack(">I", flags))
            made = netlink.message(_NEWTABLE, netlink.CREATE | netlink.ACK, body)
            try:
                netlink.request(self._socket, netlink.nftables_batch(*stale, made))
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL) or flags == _OWNER:
                    raise _not_made(self.table, error) from None
            else:
                self.persists = bool(flags & _PERSIST)
                return


def _context_with_its_socket(instead: socket.socket | None = None) -> tuple[nftables.Context, socket.socket]:
    """Make a context, and a duplicate of the descriptor of its netlink socket, which it does not tell.

    With ``instead`` it speaks through that one.
    """
    before = _netfilter_sockets()
    context = nftables.open_context()
    made = _netfilter_sockets() - before
    if len(made) != 1:
        raise HostError(
            f"libnftables opened {len(made)} netlink sockets where one was expected: no table can be owned",
            hint="another version of libnftables than 1.0.6 may do so; please report it",
        )
    descriptor, _ = made.pop()
    if instead is not None:
        os.dup2(instead.fileno(), descriptor, inheritable=False)
        return context, instead
    sock = socket.socket(fileno=os.dup(descriptor))
    # Its port is that of the socket; otherwise it would get one with the first message.
    sock.bind((0, 0))
    return context, sock


def _netfilter_sockets() -> set[tuple[int, int]]:
    """The descriptors of this process that are such sockets, with their inodes: numbers of closed ones come again."""
    found = set()
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            status = os.fstat(descriptor)
            if not stat.S_ISSOCK(status.st_mode):
                continue
            with socket.socket(fileno=os.dup(descriptor)) as sock:
                if sock.family == socket.AF_NETLINK and sock.proto == netlink.NETLINK_NETFILTER:
                    found.add((descriptor, status.st_ino))
    return found


def _not_made(table: str, error: OSError) -> HostError:
    if error.errno == errno.EPERM:
        return HostError(
            f"table inet {table} belongs to another process", hint=f"`nft list table inet {table}` names it; end it"
        )
    return HostError(
        f"table inet {table} cannot be owned: {error.strerror}", hint="Linux 5.12 or newer is needed (flags owner)"
    )
