"""Foreign TLS peers, made with pyOpenSSL, and our door on the other end of a loopback connection."""

from __future__ import annotations

import contextlib
import socket
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import anyio
from anyio import to_thread
from cryptography import x509
from OpenSSL import SSL, crypto

from runtime.servers import loopback
from tng_runtime.errors import Refused
from tng_runtime.kernel.readiness import Poller
from tng_runtime.tunnel.contexts import ALPN, Side
from tng_runtime.tunnel.credentials import Credentials
from tng_runtime.tunnel.handshake import Believes, Door, Handshaken
from tng_runtime.tunnel.identity import throwaway_identity


@dataclass
class Far:
    """The far end of a connection, and what became of the peer's program on it."""

    sock: socket.socket
    received: bytes = b""
    failure: BaseException | None = None
    connection: SSL.Connection | None = None


@dataclass
class Met:
    """How one handshake went: ``shaken`` or ``refused`` on our side, ``far`` on the other."""

    near: socket.socket
    far: Far
    shaken: Handshaken | None = None
    refused: Refused | None = None
    door: Door = field(kw_only=True)


Program = Callable[[Far], None]


def offering(
    side: Side,
    *,
    alpn: list[bytes] | None = None,
    shown: Credentials | None = None,
    key: crypto.PKey | None = None,
    prepare: Callable[[SSL.Context], None] = lambda _: None,
) -> SSL.Context:
    """The context of a foreign peer on ``side`` of the connection; ``alpn`` [] offers or takes none at all.

    ``key`` is used in the place of the one that belongs to the certificate of ``shown``.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    protocols = [ALPN] if alpn is None else alpn
    if protocols and side == "client":
        context.set_alpn_protos(protocols)
    elif protocols:
        context.set_alpn_select_callback(
            lambda _, offered: next((p for p in protocols if p in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
        )
    if shown is not None:
        context.use_certificate(x509.load_der_x509_certificate(shown.certificate_der))
        with warnings.catch_warnings():
            # pyOpenSSL wants keys of cryptography's type, which cannot hold one that does not fit its public half.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.use_privatekey(key or shown.private_key)
    prepare(context)
    return context


def shaking(side: Side, context: SSL.Context, then: Callable[[SSL.Connection], bytes] | None = None) -> Program:
    """A peer that shakes hands as ``side`` with ``context``, and then does ``then``, whose result is kept."""

    def program(far: Far) -> None:
        far.connection = connection = SSL.Connection(context, far.sock)
        if side == "client":
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        connection.do_handshake()
        if then is not None:
            far.received = then(connection)

    return program


async def our_door(poller: Poller, side: Side, verifier: Believes | None = None, deadline: float = 10) -> Door:
    """A door of ours that shows a throw-away certificate."""
    identity = throwaway_identity()
    await identity.start()
    return Door(side, identity, verifier, poller, deadline=deadline)


async def meet(
    poller: Poller,
    side: Side,
    program: Program,
    *,
    verifier: Believes | None = None,
    deadline: float = 10,
    door: Door | None = None,
    seconds: float = 60,
    after: Callable[[Handshaken], None] = lambda _: None,
) -> Met:
    """Our door as ``side`` against ``program``, which gets the other end in a thread of its own.

    ``seconds`` is how long all of it may take; ``after`` is called before our end is closed for writing.
    """
    door = door or await our_door(poller, side, verifier, deadline)
    with loopback() as (near, sock):
        far = Far(sock)
        met = Met(near, far, door=door)

        def run() -> None:
            try:
                program(far)
            except (SSL.Error, OSError) as error:
                far.failure = error

        async def ours() -> None:
            poller.register(near.fileno(), lambda _: None)
            try:
                met.shaken = await door.handshake(near, "10.0.0.1", poller.time() + seconds)
                after(met.shaken)
            except Refused as refused:
                met.refused = refused
            finally:
                poller.forget(near.fileno())
                if met.shaken is None:
                    near.close()
                else:
                    near.shutdown(socket.SHUT_WR)

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(to_thread.run_sync, run)
                await ours()
    return met


def shake_in_memory(client: SSL.Connection, server: SSL.Connection) -> None:
    """Let two ends without sockets shake hands; what follows is theirs to read."""
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            pass_on(one, other)


def pass_on(one: SSL.Connection, other: SSL.Connection) -> None:
    """Give ``other`` what ``one`` has said."""
    with contextlib.suppress(SSL.WantReadError):
        other.bio_write(one.bio_read(1 << 16))
