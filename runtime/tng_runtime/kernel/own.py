"""Which connections on this host are our own, so that none of them is relayed again.

The rules let our own packets pass. Another table may rewrite what they are told by, and a connection that we dial is
then redirected to ourselves, dialled once more, and so on until the descriptors are used up, whether the application
stays or not. Who has source and destination in common with a connection that we dialled is that one: but for two cases.
The source of one that was closed or reset is anybody's at once; and where a redirected connection would have the source
of an older one, the kernel gives it another, any (kernel: nf_nat_core.c, get_unique_tuple). So ours must be connected,
and have heard nothing yet: at the other end of a loop are we, and say nothing before the other gateway has spoken. And
what arrived must be as much as ours has sent; while that can not be told they are looked at again.
"""

from __future__ import annotations

import socket
import struct
import time

import anyio

from tng_runtime.kernel.sockets import Destination

# struct tcp_info (linux/tcp.h): tcpi_bytes_received, tcpi_bytes_sent, tcpi_bytes_retrans.
_INFO = struct.Struct("=128xQ64xQQ")
# What is sent on this host has arrived by then; so a connection may wait that does not speak first, once in 100,000.
LOOP_SECONDS, _PAUSE_SECONDS = 1.0, 0.005

Pair = tuple[str, str, int]


class OwnConnections:
    """The dialled connections of all entries, by source and destination."""

    def __init__(self) -> None:
        self._pairs: dict[Pair, socket.socket] = {}

    def add(self, sock: socket.socket, destination: Destination) -> Pair:
        """``sock``, whose connection to ``destination`` has begun, is one of them until ``discard``."""
        pair = _pair(source_of(sock.getsockname()), destination)
        self._pairs[pair] = sock
        return pair

    def discard(self, pair: Pair, sock: socket.socket) -> None:
        """``sock``, for which ``add`` returned ``pair``, has ended."""
        if self._pairs.get(pair) is sock:
            del self._pairs[pair]

    async def has(self, accepted: socket.socket, peer: str, destination: Destination) -> bool:
        """Whether an accepted connection from ``peer`` (``source_of``) that meant ``destination`` is one of them."""
        pair, end = _pair(peer, destination), time.monotonic() + LOOP_SECONDS
        while (dialled := self._pairs.get(pair)) is not None:
            try:
                dialled.getpeername()  # in a loop it is connected: the kernel says so before the other end is accepted
                heard, sent = _carried(dialled)
                arrived, _ = _carried(accepted)
            except OSError:
                return False
            if heard or arrived > sent:
                return False
            if arrived == sent > 0:
                return True
            if time.monotonic() > end:
                return arrived == sent
            await anyio.sleep(_PAUSE_SECONDS)
        return False


def source_of(address: tuple[str, int] | tuple[str, int, int, int]) -> str:
    """An address of ``getsockname`` or ``getpeername`` as text: ``10.0.0.1:80``, ``[fe80::1%eth0]:80``."""
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _carried(sock: socket.socket) -> tuple[int, int]:
    """The bytes that a connection has received, read or not, and sent."""
    received, sent, again = _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
    return received, sent - again


def _pair(source: str, destination: Destination) -> Pair:
    # The interface of a link-local address is another one to who dials than to who accepts.
    address, _, port = source.rpartition(":")
    return f"{address.partition('%')[0].rstrip(']')}:{port}", destination.host, destination.port
