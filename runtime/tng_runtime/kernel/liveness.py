"""How an end of a connection differs from its breaking off, and how a peer that is gone is noticed.

**Breaking off.** When a process dies the kernel closes its sockets, and a socket that is closed sends FIN: whoever
reads takes a file that was cut for a whole one. With SO_LINGER on and a time of 0 closing sends a reset instead and
drops what was not sent (socket(7), tcp(7)). So a relayed socket lingers for 0 seconds from its first moment, and only
who ends it in order says otherwise just before: ``end_in_order``. Accepted sockets inherit what their listener has,
every option of this module, so there is no moment without.

**Gone.** A peer that lost its power or its link says nothing. A silent connection is asked by keepalive probes; one
with data on the way has TCP_USER_TIMEOUT, since no probes are sent then. Probes also keep alive what stands in the
middle: connection tracking forgets a half-closed connection 60 s after its last packet
(nf_conntrack_tcp_timeout_close_wait), and with it the address that a captured one was meant for. Linux probes in every
state but SYN_SENT and CLOSE, half-closed in either direction too (kernel: net/ipv4/tcp_timer.c, tcp_keepalive_timer).

**Slow.** TCP_USER_TIMEOUT also ends a connection whose reader takes nothing for that long, although it answers every
window probe (kernel: tcp_probe_timer). RFC 9293, section 3.8.6.1, wants such a connection kept, and a reader may well
pause for an hour. ``Patience`` therefore lifts the timeout from a socket that waits for nothing but a living reader.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass

_OFF, _RESET = struct.pack("ii", 0, 0), struct.pack("ii", 1, 0)

# struct tcp_info (linux/tcp.h): tcpi_probes, tcpi_unacked, tcpi_last_ack_recv (ms), tcpi_notsent_bytes, tcpi_snd_wnd.
_INFO = struct.Struct("=3xB20xI28xI84xI80xI")
# A probe or two may be lost.
_UNANSWERED = 3
# Of ``Liveness.unanswered``, for ``Patience``: often enough that the timeout is lifted before it strikes.
PERIOD = 0.25


@dataclass(frozen=True, slots=True)
class Liveness:
    """Seconds of silence before the first probe and between probes, how many probes, and seconds without an answer.

    A peer that is gone is noticed after ``unanswered`` seconds. ``idle`` stays below the 60 s after which connection
    tracking forgets a half-closed connection.
    """

    idle: int = 20
    interval: int = 5
    probes: int = 4
    unanswered: int = 40


LIVENESS = Liveness()


def notice_absence(sock: socket.socket, liveness: Liveness = LIVENESS) -> None:
    """Let the kernel end ``sock``, or what a listener accepts, with ETIMEDOUT when its peer is gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPIDLE, liveness.idle),
        (socket.TCP_KEEPINTVL, liveness.interval),
        (socket.TCP_KEEPCNT, liveness.probes),
        (socket.TCP_USER_TIMEOUT, liveness.unanswered * 1000),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def carry_for_others(sock: socket.socket, liveness: Liveness = LIVENESS) -> None:
    """Prepare a socket, or a listener, of a connection that is relayed: ``notice_absence``, and what follows.

    It ends with a reset unless ``end_in_order`` is said, and urgent bytes (MSG_OOB) stay where they are in the stream:
    without SO_OOBINLINE the kernel takes them out of it.
    """
    notice_absence(sock, liveness)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    break_off(sock)


def break_off(sock: socket.socket) -> None:
    """From now on closing it, by whomever, is a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def end_in_order(sock: socket.socket) -> None:
    """From now on closing it lets what is in the send queue go out, and FIN after it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _OFF)


def waited(sock: socket.socket) -> float:
    """Seconds since the peer of an accepted TCP socket last said anything; 0 if the kernel does not tell.

    For one that sends nothing and was accepted just now: how long it was in the queue.
    """
    with contextlib.suppress(OSError, struct.error):
        found = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        return float(_INFO.unpack(found)[2] / 1000)
    return 0.0


class Patience:
    """Whether one socket's TCP_USER_TIMEOUT is lifted; ``look`` every ``PERIOD`` of ``unanswered`` seconds or so."""

    __slots__ = ("_lifted", "_milliseconds", "_sock")

    def __init__(self, sock: socket.socket, liveness: Liveness) -> None:
        self._sock = sock
        self._milliseconds = liveness.unanswered * 1000
        self._lifted = False

    def look(self) -> None:
        """Lift the timeout while a reader that lives takes nothing; put it back when that is over."""
        # Not TCP, or closed meanwhile: there is nothing to be patient with.
        with contextlib.suppress(OSError, struct.error):
            waits = self._waits()
            if waits is not self._lifted:
                milliseconds = 0 if waits else self._milliseconds
                self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
                self._lifted = waits

    def _waits(self) -> bool:
        found = self._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        probes, unacknowledged, silent, unsent, window = _INFO.unpack(found)
        stuck = unsent > 0 and (unacknowledged == 0 or window == 0)
        return stuck and not (probes >= _UNANSWERED and silent >= self._milliseconds)
