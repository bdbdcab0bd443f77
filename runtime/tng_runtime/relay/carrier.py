"""What a session asks of whatever carries payload between the gateways.

On an ingress a session asks for a verified stream to a destination, on an egress it is given verified streams and
where each of them is to go. Whether a stream has a connection and a handshake of its own is the carrier's business
and nobody else's. ``relay.raw`` is the only carrier so far: one TLS connection for each stream. What they share is
the one door (``tunnel.handshake``): no carrier has a stream whose peer did not pass it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from tng_runtime.accept.lifecycle import Lifecycle
from tng_runtime.attest.token import Verdict
from tng_runtime.kernel.sockets import Destination
from tng_runtime.relay.link import Report


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

    async def relay(self, plain: socket.socket, life: Lifecycle) -> Report:
        """Relay to and from ``plain``, which the poller watches, until both ends or a break; both are closed then."""
        ...

    def close(self) -> None:
        """Said once in the end; what is still open ends with a reset."""
        ...


class Opens(Protocol):
    """A carrier of an ingress."""

    async def open(self, destination: Destination, source: str) -> Stream:
        """A stream to ``destination``, which is whose turn is used (``source``). Raises ``Refused``."""
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
