"""Which connections on this host are our own, so that none of them is relayed again.

The rules let our own packets pass. Another table may rewrite what they are told by, and a connection that we dial is
then redirected to ourselves, dialled once more, and so on until the descriptors are used up, whether the application
stays or not. The kernel has one socket for a source and a destination, so who has both in common with one that we
dialled is that one.

With one exception. Two connections of applications from one port to two places are one after the redirect, so
connection tracking gives the second another port (kernel: nf_nat_core.c, get_unique_tuple), and that may be the port of
a connection that we dialled long ago. So a connection counts as dialled until its other end has shaken hands: whoever
accepts a connection of ours looks here before that.
"""

from __future__ import annotations

import socket

from tng_runtime.kernel.sockets import Destination

Pair = tuple[str, str, int]


class OwnConnections:
    """The dialled connections of all entries, by source and destination."""

    def __init__(self) -> None:
        self._pairs: set[Pair] = set()

    def add(self, sock: socket.socket, destination: Destination) -> Pair:
        """``sock``, whose connection to ``destination`` has begun, is one of them until ``discard``."""
        pair = _pair(source_of(sock.getsockname()), destination)
        self._pairs.add(pair)
        return pair

    def discard(self, pair: Pair) -> None:
        """What ``add`` returned has ended, or is known to have reached somebody else."""
        self._pairs.discard(pair)

    def has(self, peer: str, destination: Destination) -> bool:
        """Whether an accepted connection from ``peer`` (``source_of``) that meant ``destination`` is one of them."""
        return _pair(peer, destination) in self._pairs


def source_of(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """An address of ``getsockname`` or ``getpeername`` as text: ``10.0.0.1:80``, ``[fe80::1%eth0]:80``."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _pair(source: str, destination: Destination) -> Pair:
    # The interface of a link-local address is another one to who dials than to who accepts.
    address, _, port = source.rpartition(":")
    return f"{address.partition('%')[0].rstrip(']')}:{port}", destination.host, destination.port
