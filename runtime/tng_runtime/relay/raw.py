"""The carrier of what is tunnelled: one TLS connection for each stream, to where the captured connection was going.

The order is safety. An ingress dials, shakes hands, and has a verdict before a byte of the application is read. On an
egress the verdict comes before the stream is given to anybody, so before a backend is dialled. Types hold it: a stream
is made of an ``AttestedStream``, and only the door makes those.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

from tng_runtime.accept.lifecycle import Lifecycle
from tng_runtime.accept.limits import Handshakes
from tng_runtime.attest.token import Verdict
from tng_runtime.errors import LinkCode
from tng_runtime.events import Events
from tng_runtime.kernel import path
from tng_runtime.kernel.dialling import Dialled, Dialler
from tng_runtime.kernel.names import Target
from tng_runtime.kernel.own import OwnConnections
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import Destination
from tng_runtime.manifest import Entry
from tng_runtime.relay.carrier import Serve, Stream
from tng_runtime.relay.link import Carried, Relay, Report
from tng_runtime.relay.proxy_header import key_digest
from tng_runtime.relay.session import Egress, Ingress, Sessions
from tng_runtime.tunnel import ephemeral
from tng_runtime.tunnel.handshake import VERDICT_SECONDS, AttestedStream, Door


def sessions(
    entry: Entry,
    door: Door,
    relay: Relay,
    poller: Poller,
    told: Events,
    own: OwnConnections,
    handshakes: Handshakes,
) -> Sessions:
    """Those of ``entry``, each stream on a connection of its own; ``own`` and ``handshakes`` are of all entries."""
    dialler = Dialler(entry.so_mark, poller, own)
    way = _Way(door, relay, poller, handshakes)
    if entry.role == "ingress":
        return Ingress(entry, RawIngress(way, dialler), poller, told, own)
    return Egress(entry, RawEgress(way), dialler, poller, told, own)


class _RawStream:
    __slots__ = ("_attested", "_close", "_relay")

    def __init__(self, attested: AttestedStream, relay: Relay, close: Callable[[], None]) -> None:
        self._attested, self._relay, self._close = attested, relay, close

    @property
    def verdict(self) -> Verdict | None:
        return self._attested.verdict

    @property
    def group(self) -> str | None:
        return self._attested.group

    @property
    def cipher(self) -> str | None:
        return self._attested.cipher

    def key_digest(self) -> bytes | None:
        return key_digest(self._attested.connection)

    def relay(self, plain: socket.socket, life: Lifecycle, carried: Carried) -> Coroutine[Any, Any, Report]:
        return self._relay.run(self._attested, plain, life, carried)

    def close(self) -> None:
        self._close()


class _Way:
    """Through the door: handshake and verdict within their deadline and their number."""

    def __init__(self, door: Door, relay: Relay, poller: Poller, handshakes: Handshakes) -> None:
        self._door, self._poller, self.relay, self.handshakes = door, poller, relay, handshakes

    def end(self) -> float:
        """Until when there must be a verdict on a connection that comes now."""
        return self._poller.time() + VERDICT_SECONDS

    async def attested(self, sock: socket.socket, source: str, end: float) -> AttestedStream:
        attested = await self._door.verify(await self._door.handshake(sock, source, end))
        ephemeral.forget(attested.connection)
        return attested


class RawIngress:
    """Makes a connection for each stream."""

    def __init__(self, way: _Way, dialler: Dialler) -> None:
        self._way, self._dialler = way, dialler

    async def open(self, destination: Target, source: str, is_at: Callable[[str], None]) -> Stream:
        """See ``carrier.Opens``."""
        end = self._way.end()
        # It is a program of this host that begins them, so none of them is a stranger's.
        self._way.handshakes.begin(None)
        dialled: Dialled | None = None
        try:
            dialled = await self._dialler.dial(destination, LinkCode.TLS_BROKEN, is_at)
            try:
                attested = await self._way.attested(dialled.sock, source, end)
            except path.TooNarrowError:
                dialled.close()
                dialled = await self._dialler.dial(destination, LinkCode.TLS_BROKEN, is_at, small=True)
                attested = await self._way.attested(dialled.sock, source, end)
        except BaseException:
            if dialled is not None:
                dialled.close()
            raise
        finally:
            self._way.handshakes.end(None)
        return _RawStream(attested, self._way.relay, dialled.close)


class RawEgress:
    """A captured connection is a stream."""

    def __init__(self, way: _Way) -> None:
        self._way = way

    async def accept(self, captured: socket.socket, destination: Destination, source: str, serve: Serve) -> None:
        """See ``carrier.Accepts``."""
        end = self._way.end()
        self._way.handshakes.begin(source)
        try:
            attested = await self._way.attested(captured, source, end)
        finally:
            self._way.handshakes.end(source)
        await serve(_RawStream(attested, self._way.relay, _nothing), destination)


def _nothing() -> None:
    """The captured connection is its session's."""
