"""A handshake of ours with ourselves, in memory, before other processes are forked.

What OpenSSL, its providers and cryptography set up when they are first used is memory that all processes share then,
and time that no first connection waits for.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime

from OpenSSL import SSL

from tng_runtime.errors import HostError
from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.contexts import Contexts, Side
from tng_runtime.tunnel.credentials import Credentials, self_signed

_MAX_TURNS = 10


def rehearse() -> None:
    """Shake hands and say a byte; what this host cannot do is said by whoever needs it."""
    with contextlib.suppress(HostError, SSL.Error):
        credentials = self_signed(datetime.now(UTC))
        client, server = _end("client", credentials), _end("server", credentials)
        for _ in range(_MAX_TURNS):
            if all([_goes_on(client, server), _goes_on(server, client)]):
                break
        client.send(b"x")
        server.bio_write(client.bio_read(1 << 16))
        server.recv(1)


def _end(side: Side, credentials: Credentials) -> SSL.Connection:
    contexts = Contexts(side, verifies=True)
    connection = SSL.Connection(contexts.for_credentials(credentials), None)
    if side == "client":
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def _goes_on(one: SSL.Connection, other: SSL.Connection) -> bool:
    """Whether the handshake of ``one`` is done; what it says is given to the other."""
    waits = openssl.shake(one)
    if waits == openssl.SSL_ERROR_WANT_RETRY_VERIFY:
        waits = openssl.judge(one, None)
    with contextlib.suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(1 << 16))
    return not waits
