"""What a session asks of whatever carries payload between the gateways.

On an ingress a session asks for a verified stream to a destination, on an egress it is given verified streams and
where each of them is to go. Whether a stream has a connection and a handshake of its own is the carrier's business
and nobody else's. ``relay.raw`` has one TLS connection for each stream; ``relay.plain`` has none, for what a proxy lets
leave. Those with a tunnel share the one door (``tunnel.handshake``): none has a stream whose peer did not pass it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tng_runtime.accept.lifecycle import Lifecycle
from tng_runtime.attest.token import Verdict
from tng_runtime.kernel.names import Target
from tng_runtime.kernel.sockets import Destination
from tng_runtime.relay.link import Carried, Report


class Stream(Protocol):
    """A stream whose peer met the entry's demands; ``verdict`` None: the entry demands nothing.

    ``group`` and ``cipher`` are of the TLS connection under it.
    """

    @property
    def verdict(self) -> Verdict | None:
        """About the peer."""
        ...

    @property
    def group(self) -> str | None:
        """On which keys were agreed."""
        ...

    @property
    def cipher(self) -> str | None:
        """With which payload is encrypted."""
        ...

    def key_digest(self) -> bytes | None:
        """The SHA-256 of the key (SubjectPublicKeyInfo, DER) that the peer showed; None if it showed none."""
        ...

    async def relay(self, plain: socket.socket, life: Lifecycle, carried: Carried) -> Report:
        """Relay to and from ``plain``, which the poller watches, until both ends or a break; both are closed then.

        ``carried`` follows it.
        """
        ...

    def close(self) -> None:
        """Said once in the end; what is still open ends with a reset."""
        ...


class Opens(Protocol):
    """A carrier of an ingress."""

    async def open(self, destination: Target, source: str, is_at: Callable[[str], None]) -> Stream:
        """A stream to ``destination``, which is whose turn is used (``source``). Raises ``Refused``.

        ``is_at`` gets our address and port of the connection under it, as soon as there is one.
        """
        ...


# What is done with a stream on an egress, from its backend to its end. It closes the stream, tells how it ended, and
# raises nothing but cancellation: a connection may carry others.
Serve = Callable[[Stream, Destination], Coroutine[Any, Any, None]]


class Accepts(Protocol):
    """A carrier of an egress."""

    async def accept(self, captured: socket.socket, destination: Destination, source: str, serve: Serve) -> None:
        """Give ``serve`` each stream that comes over a captured connection, and where it is to go.

        ``destination`` is where that connection was going, ``source`` whose turn is used for it. Raises ``Refused`` if
        no stream comes of it. The caller closes ``captured``.
        """
        ...
