"""A path that carries less than this host believes, and on which nobody says so.

TCP learns of a narrow hop by an ICMP error (RFC 1191); where those are dropped every full segment is lost, again and
again. A hello with the post-quantum key share, and the answer to it with a certificate, are larger than a packet: a
program that sends little gets through without the tunnel, and not with it. RFC 4821 probes the path instead, which on
Linux is a setting of the whole namespace (net.ipv4.tcp_mtu_probing), and not ours.

For one socket IPv4 has this: without DF (ip(7), IP_MTU_DISCOVER) a router cuts what is too large, and the kernel sends
again without it what was lost with it. IPv6 routers never cut, and no setting makes the segments of a connected socket
smaller; TCP_MAXSEG does before it is connected, and tells the other side as well. So who dialled dials once more.
"""

from __future__ import annotations

import contextlib
import socket
import struct

# struct tcp_info (linux/tcp.h): tcpi_retransmits, how often in a row the oldest segment was sent again; tcpi_unacked.
_INFO = struct.Struct("=2xB21xI")
# The first time may be an ordinary loss.
_LOST = 2
# What fits into 1280 bytes, which every IPv6 path carries (RFC 8200, section 5), behind its headers.
SMALL_SEGMENT = 1280 - 40 - 20
_IP_MTU_DISCOVER, _IP_PMTUDISC_DONT = 10, 0  # linux/in.h


class TooNarrowError(Exception):
    """What was sent does not get through; a connection with ``SMALL_SEGMENT`` may."""


def is_stuck(sock: socket.socket) -> bool:
    """Whether what a connected TCP socket sent is lost again and again."""
    with contextlib.suppress(OSError, struct.error):
        retransmits, unacked = _INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size))
        return bool(retransmits >= _LOST and unacked)
    return False


def let_routers_cut(sock: socket.socket) -> bool:
    """Send without DF from now on; False for a socket that is not of IPv4."""
    if sock.family != socket.AF_INET:
        return False
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_DONT)
        return True
    return False


def send_small(sock: socket.socket) -> None:
    """Let a socket that is not connected yet send, and ask for, ``SMALL_SEGMENT`` at most."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SMALL_SEGMENT)


def require_small(sock: socket.socket) -> None:
    """Raise ``TooNarrowError`` if smaller segments may get through where those of ``sock`` are lost."""
    with contextlib.suppress(OSError):
        if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > SMALL_SEGMENT:
            raise TooNarrowError
