"""Listen ports that belong to another entry than before.

Ports follow the order of the entries. In the next document one may belong to an entry of other terms, while connections
wait there, or are on their way, that the rules of before captured for the old entry: what was to be verified must not
be carried as the new entry says, by less or not at all.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
from collections.abc import Sequence
from dataclasses import replace

from tng_runtime import log
from tng_runtime.kernel import captured
from tng_runtime.kernel.sockets import abort
from tng_runtime.manifest import Entry


def terms(entry: Entry) -> bytes:
    """A digest of what becomes of a connection that is captured for ``entry``; nothing for a door, that captures none.

    Of a program that waits at a door the document of now says what its port means.
    """
    alike = replace(entry, pointer="", listen_port=0, so_mark=0, families=())
    return b"" if entry.is_door else hashlib.sha256(repr(alike).encode()).digest()


def turn_away(listeners: Sequence[socket.socket]) -> None:
    """Let nobody through who was captured by other rules than those of now, and has not been accepted.

    The rules of now are loaded. What waits is reset.
    """
    ports = {sock.getsockname()[1] for sock in listeners}
    forget(ports)
    if number := sum(_reset_all(sock) for sock in listeners):
        log.info("turned_away", connections=number, meaning="they were captured by the rules of before")
    # Connection tracking remembers those that were reset just now as well.
    forget(ports)


def forget(ports: set[int]) -> None:
    """Let connection tracking forget what it redirects to ``ports`` by the rules of before, but open connections."""
    if not ports:
        return
    try:
        captured.forget_unfinished(ports)
    except OSError as error:
        log.warning(
            "redirects_not_forgotten",
            reason=error.strerror,
            meaning="what began under the rules of before may come to another entry of these",
            advice="the kernel needs nf_conntrack_netlink (CONFIG_NF_CT_NETLINK)",
        )


def _reset_all(listener: socket.socket) -> int:
    number = 0
    with contextlib.suppress(OSError):  # nobody waits any more, or it does not listen
        while True:
            abort(listener.accept()[0])
            number += 1
    return number
