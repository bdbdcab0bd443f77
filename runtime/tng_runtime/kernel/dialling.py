"""Connections that we make for captured ones: marked, known as our own, and answered within a deadline."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass

from tng_runtime.errors import HostError, LinkCode, Refused
from tng_runtime.kernel import path
from tng_runtime.kernel.liveness import carry_for_others
from tng_runtime.kernel.names import Resolved, Target, first_to_connect, resolve
from tng_runtime.kernel.own import OwnConnections, Pair, source_of
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import Destination, abort, bind_to_client, dial_socket

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

    def close(self) -> None:
        """Forget it; if it is still open it ends with a reset."""
        self._dialler.end(self.sock, self._pair)


class Dialler:
    """Dials for one entry, with its ``mark``; ``own`` are the connections of all entries."""

    def __init__(self, mark: int, poller: Poller, own: OwnConnections) -> None:
        self._mark, self._poller, self._own = mark, poller, own

    async def dial(
        self,
        target: Target,
        on_reset: LinkCode,
        is_at: Callable[[str], None] | None = None,
        client: str | None = None,
        *,
        small: bool = False,
    ) -> Dialled:
        """Connect to ``target``, or to the first address of a name that answers.

        Raises ``Refused``: NET-LIMIT, NET-DIAL, or ``on_reset`` if it took and reset.
        ``is_at`` gets our own address and port before there is an answer. ``client`` is whose address is dialled from,
        None for one of this host. ``small``: see ``path.send_small``.
        """
        if isinstance(target, Destination):
            return await self._dial(target, on_reset, is_at, client, small=small)

        async def one(address: Destination) -> Dialled:
            return await self._dial(address, on_reset, is_at, client, small=small)

        addresses = target.addresses if isinstance(target, Resolved) else await resolve(target, DIAL_SECONDS)
        made = await first_to_connect(addresses, one, Dialled.close)
        if is_at is not None:  # the last that was tried need not be the first that answered
            is_at(source_of(made.sock.getsockname()))
        return made

    async def _dial(
        self,
        destination: Destination,
        on_reset: LinkCode,
        is_at: Callable[[str], None] | None,
        client: str | None,
        *,
        small: bool,
    ) -> Dialled:
        try:
            sock = dial_socket(destination.family, self._mark)
        except HostError as error:
            raise Refused(LinkCode.NET_LIMIT, error.message) from None
        carry_for_others(sock)
        if small:
            path.send_small(sock)
        if client is not None:
            try:
                bind_to_client(sock, client)
            except BaseException:
                sock.close()
                raise
        code = sock.connect_ex(destination.sockaddr)
        dialled = Dialled(sock, self._own.add(sock, destination), self)
        try:
            if is_at is not None:
                is_at(source_of(sock.getsockname()))
            self._poller.register(sock.fileno())
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

    def end(self, sock: socket.socket, pair: Pair) -> None:
        """See ``Dialled.close``."""
        self._own.discard(pair, sock)
        if sock.fileno() >= 0:
            self._poller.forget(sock.fileno())
            abort(sock)
