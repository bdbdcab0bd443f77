"""A relay between two real connections: an application on one, a TLS peer made with pyOpenSSL on the other.

The relay's loop is the test's; what blocks (the peer, the application) runs in threads, or in the test between two
turns of the loop when it must be one instant for the relay.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import anyio
from anyio import to_thread
from cryptography import x509
from cryptography.hazmat.bindings import _rust
from OpenSSL import SSL
from OpenSSL._util import ffi

from tng_runtime.accept.lifecycle import Event, Lifecycle
from tng_runtime.kernel.liveness import LIVENESS, Liveness
from tng_runtime.kernel.readiness import Poller
from tng_runtime.manifest import Role
from tng_runtime.relay.link import Relay, Report, _Link
from tng_runtime.tunnel import credentials, openssl
from tng_runtime.tunnel.contexts import ALPN
from tng_runtime.tunnel.credentials import Credentials
from tng_runtime.tunnel.handshake import AttestedStream, Door
from tng_runtime.tunnel.identity import throwaway_identity

T = TypeVar("T")
SECONDS = 20


def unix_pair() -> tuple[socket.socket, socket.socket]:
    """Two connected sockets whose send buffer is full as soon as it is set smaller than what it holds.

    TCP would still append to the last segment that waits.
    """
    near, far = socket.socketpair()
    near.setblocking(False)
    return near, far


def tcp_pair(receive_buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """Two connected sockets; ``receive_buffer`` bytes at the second."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    for sock in (near, far):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A timeout of Python's would make the socket non-blocking, which pyOpenSSL does not wait for.
    far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", SECONDS, 0))
    far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", SECONDS, 0))
    near.setblocking(False)
    return near, far


async def throwaway() -> Credentials:
    """A certificate of a peer."""
    return await credentials.throwaway(datetime.now(UTC))


def peer_context(shown: Credentials) -> SSL.Context:
    """A peer without any of our settings but the protocol's."""
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(x509.load_der_x509_certificate(shown.certificate_der))
    context.use_privatekey(shown.private_key)
    context.set_verify(SSL.VERIFY_NONE)
    context.set_alpn_protos([ALPN])
    context.set_alpn_select_callback(lambda _, __: ALPN)
    return context


def peer(context: SSL.Context, sock: socket.socket, role: Role) -> SSL.Connection:
    """The other end of a tunnel whose near end has ``role``, hands not yet shaken."""
    connection = SSL.Connection(context, sock)
    if role == "egress":
        connection.set_connect_state()
    else:
        connection.set_accept_state()
    return connection


def unbound(name: str, signature: str) -> Callable[..., int]:
    """A function of OpenSSL that the library has no binding for."""
    path = _rust.__file__
    base = openssl._load_address(path)
    assert base is not None
    found: Callable[..., int] = ffi.cast(signature, base + openssl._symbols(path, [name])[name])
    return found


async def wait_until(condition: Callable[[], bool]) -> None:
    """Let the loop go round until ``condition`` holds."""
    with anyio.fail_after(SECONDS):
        while not condition():  # noqa: ASYNC110 - what is awaited is the relay's own state
            await anyio.sleep(0.001)


async def threaded(work: Callable[..., T], *arguments: Any) -> T:
    """``work`` in a thread of its own, within the time of a test."""
    with anyio.fail_after(SECONDS * 3):
        return await to_thread.run_sync(work, *arguments)


@dataclass
class Relayed:
    """One relayed connection. ``near`` and ``plain`` are the relay's sockets, ``peer`` and ``app`` the far ends.

    ``secrets``: of TLS, by their names in a key log.
    """

    link: _Link
    near: socket.socket
    plain: socket.socket
    peer: SSL.Connection
    peer_socket: socket.socket
    app: socket.socket
    scope: anyio.CancelScope
    secrets: dict[str, bytes]
    ended: anyio.Event = field(default_factory=anyio.Event)
    report: Report | None = None

    async def end(self) -> Event:
        """How the relay ended."""
        with anyio.fail_after(SECONDS):
            await self.ended.wait()
        assert self.report is not None
        return self.report.ending


@dataclass
class Floor:
    """A poller and a relay, and what runs on them."""

    group: anyio.abc.TaskGroup
    poller: Poller
    relay: Relay
    stack: contextlib.ExitStack

    async def connect(
        self,
        role: Role = "egress",
        *,
        peer_buffer: int | None = None,
        app_buffer: int | None = None,
        unix: Literal["peer", "app"] | None = None,
        pair: tuple[socket.socket, socket.socket] | None = None,
    ) -> Relayed:
        """A relayed connection, its hands shaken; the buffers bound what peer and application take unread.

        ``pair`` is the TLS connection's near and far socket, if it is not to be made here.
        """
        near, far = pair or (unix_pair() if unix == "peer" else tcp_pair(peer_buffer))
        plain, app = unix_pair() if unix == "app" else tcp_pair(app_buffer)
        for sock in (near, far, plain, app):
            self.stack.callback(sock.close)
        context = peer_context(await throwaway())
        secrets: dict[str, bytes] = {}

        def keep(_: SSL.Connection, line: bytes) -> None:
            name, _random, secret = line.decode().split()
            secrets[name] = bytes.fromhex(secret)

        context.set_keylog_callback(keep)
        other = peer(context, far, role)
        stream = await self._shaken(near, role, other)
        self.poller.register(plain.fileno(), lambda _: None)
        life = open_life(role)
        scope = anyio.CancelScope()
        before = set(self.relay._links)
        started: Relayed | None = None

        async def run() -> None:
            report = None
            with scope:
                report = await self.relay.run(stream, plain, life)
            assert started is not None
            started.report = report
            started.ended.set()

        self.group.start_soon(run)
        await wait_until(lambda: self.relay._links > before)
        (link,) = self.relay._links - before
        started = Relayed(link, near, plain, other, far, app, scope, secrets)
        return started

    async def _shaken(self, near: socket.socket, role: Role, other: SSL.Connection) -> AttestedStream:
        identity = throwaway_identity()
        await identity.start()
        door = Door("client" if role == "ingress" else "server", identity, None, self.poller)
        self.poller.register(near.fileno(), lambda _: None)
        async with anyio.create_task_group() as group:
            group.start_soon(threaded, other.do_handshake)
            shaken = await door.handshake(near, "10.0.0.1", self.poller.time() + 60)
        return await door.verify(shaken)


def open_life(role: Role) -> Lifecycle:
    """A lifecycle that was led to the relay."""
    life = Lifecycle(role)
    steps = {
        "ingress": (Event.CAPTURED, Event.VERIFIED),
        "egress": (Event.CAPTURED, Event.VERIFIED, Event.CONNECTED),
    }
    for event in steps[role]:
        life.on(event)
    return life


@contextlib.asynccontextmanager
async def floor(liveness: Liveness = LIVENESS) -> AsyncIterator[Floor]:
    """What connections are relayed on; all of it is closed at the end. ``liveness`` is what their sockets have."""
    with contextlib.ExitStack() as stack:
        poller = Poller()
        stack.callback(poller.close)
        async with anyio.create_task_group() as group:
            yield Floor(group, poller, Relay(poller, liveness), stack)
            group.cancel_scope.cancel()
