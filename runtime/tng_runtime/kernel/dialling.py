"""Connections that we make for captured ones: marked, known as our own, and answered within a deadline."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from dataclasses import dataclass

from tng_runtime.errors import HostError, LinkCode, Refused
from tng_runtime.kernel.liveness import carry_for_others
from tng_runtime.kernel.own import OwnConnections, Pair
from tng_runtime.kernel.readiness import Poller, ignore
from tng_runtime.kernel.sockets import Destination, abort, dial_socket

DIAL_SECONDS = 10.0
# What SO_ERROR says of a socket that was connected, and reset before anybody looked (kernel: net/ipv4/tcp_input.c,
# tcp_reset); a connection that was not made at all is ECONNREFUSED.
_RESET = (errno.ECONNRESET, errno.EPIPE)


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connected, non-blocking socket that the poller watches; ``close`` must be called in the end."""

    sock: socket.socket
    _pair: Pair
    _dialler: Dialler

    def reached(self) -> None:
        """Its other end has shaken hands, so it did not come back to us: see ``kernel.own``."""
        self._dialler.reached(self._pair)

    def close(self) -> None:
        """Forget it; if it is still open it ends with a reset."""
        self._dialler.end(self.sock, self._pair)


class Dialler:
    """Dials for one entry, with its ``mark``; ``own`` are the connections of all entries."""

    def __init__(self, mark: int, poller: Poller, own: OwnConnections) -> None:
        self._mark, self._poller, self._own = mark, poller, own

    async def dial(self, destination: Destination, on_reset: LinkCode) -> Dialled:
        """Connect to ``destination``; raises ``Refused``: NET-LIMIT, NET-DIAL, or ``on_reset`` if it took and reset."""
        try:
            sock = dial_socket(destination.family, self._mark)
        except HostError as error:
            raise Refused(LinkCode.NET_LIMIT, error.message) from None
        carry_for_others(sock)
        code = sock.connect_ex(destination.sockaddr)
        dialled = Dialled(sock, self._own.add(sock, destination), self)
        try:
            self._poller.register(sock.fileno(), ignore)
            if code == errno.EINPROGRESS:
                with contextlib.suppress(TimeoutError):
                    await self._poller.wait(sock.fileno(), self._poller.time() + DIAL_SECONDS)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code in _RESET:
                raise Refused(on_reset, f"{destination} took the connection and reset it at once")
            if code:
                why = f"no answer in {DIAL_SECONDS:g} s" if code == errno.EINPROGRESS else os.strerror(code)
                raise Refused(LinkCode.NET_DIAL, f"{destination}: {why}")
        except BaseException:
            dialled.close()
            raise
        return dialled

    def reached(self, pair: Pair) -> None:
        """See ``Dialled.reached``."""
        self._own.discard(pair)

    def end(self, sock: socket.socket, pair: Pair) -> None:
        """See ``Dialled.close``."""
        self._own.discard(pair)
        if sock.fileno() >= 0:
            self._poller.forget(sock.fileno())
            abort(sock)
