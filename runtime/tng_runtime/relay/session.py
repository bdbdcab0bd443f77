"""One captured connection, from the accepted socket to its end: the lifecycle's actions, carried out in its order."""

from __future__ import annotations

import os
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import UTC, datetime
from functools import partial

import anyio

from tng_runtime import events
from tng_runtime.accept.lifecycle import Action, Event, Lifecycle
from tng_runtime.attest.codes import Code
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.dialling import Dialler
from tng_runtime.kernel.names import Target
from tng_runtime.kernel.own import OwnConnections, source_of
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import (
    ClientLeftError,
    Destination,
    abort,
    sent_by_this_host,
)
from tng_runtime.manifest import Entry
from tng_runtime.relay.carrier import Accepts, Opens, Stream
from tng_runtime.relay.filters import Filters, Way
from tng_runtime.relay.http_proxy import HttpDoor, Idle, Succeeds, Waits
from tng_runtime.relay.link import Carried
from tng_runtime.relay.plain import Direct
from tng_runtime.relay.proxy_header import Told, proxy_header
from tng_runtime.relay.reach import leads, meant_by
from tng_runtime.relay.socks5 import NEGOTIATION_SECONDS, Asked
from tng_runtime.tunnel.turns import network_of


class Sessions(ABC):
    """The connections of one entry; ``own`` is that of all entries."""

    def __init__(self, entry: Entry, poller: Poller, told: events.Events, own: OwnConnections) -> None:
        self._entry = entry
        self._poller = poller
        self._tell = told.tell
        self._own = own

    async def serve(self, captured: socket.socket) -> None:
        """See one captured connection through to its end. Nothing but cancellation is raised."""
        session = _Session(self._entry, _address(captured))
        self._tell(events.Accepted(self._entry.pointer))
        try:
            await self._told(session, self._carry(session, captured))
        finally:
            # Whatever is still open ends with a reset: the captured application must not take it for an end.
            if captured.fileno() >= 0:
                self._poller.forget(captured.fileno())
                abort(captured)

    async def _told(self, session: _Session, work: Awaitable[None]) -> None:
        """Do it, and tell how it ended if it ended badly."""
        try:
            await work
        except ClientLeftError:
            self._tell(events.Left(session.who))
        except Refused as refused:
            self._tell(events.Refusal(session.who, refused.code, refused.detail, session.opened, session.leg))
        except Exception as error:
            self._tell(events.Failed(session.who, f"{type(error).__name__}: {error}", session.opened))
        except BaseException:
            if session.opened is not None:
                self._tell(events.Closed(session.opened, Event.DRAIN_OVER.name.lower()))
            raise

    async def _arrive(self, session: _Session, captured: socket.socket) -> Destination:
        if session.peer is None:
            raise ClientLeftError
        session.destination = destination = meant_by(self._entry, captured)
        if self._may_be_ours(captured) and await self._own.has(captured, session.peer, destination):
            raise Refused(LinkCode.NET_LOOP, "the connection is one that this program dialled itself")
        self._poller.register(captured.fileno())
        return destination

    def _may_be_ours(self, captured: socket.socket) -> bool:
        # Elsewhere a client may have the very address and port that we dial from on another client's behalf.
        return self._entry.client_address == "tunnel" or sent_by_this_host(captured)

    def drain(self) -> None:  # noqa: B027 - most have none
        """No other connection comes: end those that carry nothing and would only wait."""

    @abstractmethod
    async def _carry(self, session: _Session, captured: socket.socket) -> None:
        """From the captured connection to the end of all that is relayed for it."""

    async def _relay(self, session: _Session, stream: Stream, plain: socket.socket) -> None:
        """Relay until the report; raises ``Refused`` where the end is a reason to."""
        seconds = self._session_seconds(stream)
        opened, carried = self._open(session, stream)
        if seconds is None:
            report = await stream.relay(plain, session.life, carried)
        else:
            with anyio.move_on_after(seconds) as scope:
                report = await stream.relay(plain, session.life, carried)
            if scope.cancelled_caught:
                raise Refused(Code.SESSION_AGE, "the verdict on this connection has ended (max_session_age)")
        if report.ending is Event.TLS_FLOODED:
            raise Refused(LinkCode.TLS_FLOOD, "the peer sends key updates or tickets without end")
        self._tell(events.Closed(opened, report.ending.name.lower(), report.reason))

    def _open(self, session: _Session, stream: Stream) -> tuple[events.Opened, Carried]:
        carried = Carried()
        session.opened = events.Opened(
            session.who,
            self._entry.role,
            session.leg,
            session.handshake,
            None if stream.verdict is None else tuple(stream.verdict.policy_ids),
            partial(_hex, stream),
            stream.group,
            stream.cipher,
            carried.count,
        )
        self._tell(session.opened)
        return session.opened, carried

    def _session_seconds(self, stream: Stream) -> float | None:
        verify = self._entry.verify
        if verify is None or verify.max_session_age is None or stream.verdict is None:
            return None
        ends = stream.verdict.expires_at
        left = (ends - datetime.now(UTC)).total_seconds() if ends is not None else float(verify.max_session_age)
        return max(0.0, min(left, float(verify.max_session_age)))


class Ingress(Sessions):
    """A captured connection is plaintext, for which ``carrier`` has a stream."""

    def __init__(self, entry: Entry, carrier: Opens, poller: Poller, told: events.Events, own: OwnConnections) -> None:
        super().__init__(entry, poller, told, own)
        self._carrier, self._direct = carrier, Direct(poller)
        self._filters = Filters(entry.http_proxy) if entry.http_proxy else None
        self._idle = Idle()

    def drain(self) -> None:
        """See ``Sessions``."""
        self._idle.end()

    async def _carry(self, session: _Session, captured: socket.socket) -> None:
        target = leads(self._entry, await self._arrive(session, captured))
        if self._filters is not None:
            door = HttpDoor(self._filters, self._idle, self._poller, _OneByHttp(self, session, captured))
            await door.serve(captured)
            return
        if self._entry.socks5 is None:
            await self._carry_to(target, session, captured)
            return
        asked = Asked(captured, self._poller, self._entry.socks5)
        try:
            target = await asked.target(self._poller.time() + NEGOTIATION_SECONDS)
            await self._carry_to(target, session, captured, asked)
        finally:
            asked.fail()

    async def connect(self, way: Way, session: _Session, plain: socket.socket, asked: Succeeds | None = None) -> None:
        """Relay ``plain`` by the carrier of the way."""
        carrier = self._direct if way.direct else self._carrier
        await self._carry_to(way.target, session, plain, asked, carrier)

    async def branch(self, way: Way, peer: str | None, plain: socket.socket, asked: Waits) -> None:
        """Relay ``plain`` in a session of its own, and tell how it ended."""
        session = _Session(self._entry, peer)

        async def kept() -> None:
            try:
                await self.connect(way, session, plain, asked)
            except Refused as refused:
                asked.failed(refused)
                raise

        await self._told(session, kept())

    async def _carry_to(
        self,
        target: Target,
        session: _Session,
        captured: socket.socket,
        asked: Succeeds | None = None,
        carrier: Opens | None = None,
    ) -> None:
        session.destination = target
        session.take(Event.CAPTURED, Action.CARRY)
        stream = await (carrier or self._carrier).open(target, network_of(session.who.source), session.is_at)
        try:
            session.verified()
            session.take(Event.VERIFIED, Action.RELAY)
            if asked is not None:
                asked.succeed()
            await self._relay(session, stream, captured)
        finally:
            stream.close()


class _OneByHttp:
    """What one connection to an HTTP proxy is to its door: see ``http_proxy.Carries``."""

    def __init__(self, sessions: Ingress, session: _Session, captured: socket.socket) -> None:
        self._sessions, self._session, self._captured = sessions, session, captured

    def ask(self, target: Target | None) -> None:
        self._session.destination = target

    async def connect(self, way: Way, asked: Succeeds) -> None:
        await self._sessions.connect(way, self._session, self._captured, asked)

    async def branch(self, way: Way, plain: socket.socket, asked: Waits) -> None:
        await self._sessions.branch(way, self._session.peer, plain, asked)


class Egress(Sessions):
    """A captured connection is a peer's, out of which ``carrier`` makes streams; ``dialler`` reaches the backend."""

    def __init__(
        self,
        entry: Entry,
        carrier: Accepts,
        dialler: Dialler,
        poller: Poller,
        told: events.Events,
        own: OwnConnections,
    ) -> None:
        super().__init__(entry, poller, told, own)
        self._carrier, self._dialler = carrier, dialler

    async def _carry(self, session: _Session, captured: socket.socket) -> None:
        destination = await self._arrive(session, captured)

        async def serve(stream: Stream, towards: Destination) -> None:
            each = _Session(self._entry, session.peer, towards)
            session.verified()
            each.handshake = session.handshake
            try:
                await self._told(each, self._serve(each, stream, towards))
            finally:
                stream.close()

        await self._carrier.accept(captured, destination, network_of(session.who.source), serve)

    async def _serve(self, session: _Session, stream: Stream, towards: Destination) -> None:
        session.take(Event.CAPTURED, Action.CARRY)
        session.take(Event.VERIFIED, Action.DIAL)
        assert session.peer is not None, "the client was there"
        client = session.peer.rpartition(":")[0].strip("[]") if self._entry.client_address == "original" else None
        session.destination = target = leads(self._entry, towards)
        backend = await self._dialler.dial(target, LinkCode.NET_RESET, client=client)
        try:
            self._introduce(session, stream, towards, backend.sock)
            session.take(Event.CONNECTED, Action.RELAY)
            await self._relay(session, stream, backend.sock)
        finally:
            backend.close()

    def _introduce(self, session: _Session, stream: Stream, towards: Destination, backend: socket.socket) -> None:
        """Tell the service who its client is, where the entry says so; raises ``Refused`` (NET-DIAL)."""
        if self._entry.proxy_protocol is None:
            return
        assert session.peer is not None, "the client was there"
        told = Told()
        if self._entry.verify is not None:
            told = Told(self._entry.verify.policy_ids, stream.key_digest())
        header = proxy_header(session.peer, towards.host, towards.port, told)
        try:
            whole = backend.send(header) == len(header)
        except OSError as error:
            raise Refused(LinkCode.NET_DIAL, f"{towards}: {os.strerror(error.errno or 0)}") from None
        if not whole:
            raise Refused(LinkCode.NET_LIMIT, "the kernel had no room for a header of a few hundred bytes")


class _Session:
    """What is relayed for one application: its place in the lifecycle, and the words about it."""

    __slots__ = ("_entry", "began", "destination", "handshake", "leg", "life", "opened", "peer")

    def __init__(self, entry: Entry, peer: str | None, destination: Target | None = None) -> None:
        self._entry = entry
        self.life = Lifecycle(entry.role)
        self.peer = peer
        self.destination = destination
        self.began, self.handshake = time.monotonic(), 0.0
        self.leg = peer if entry.role == "egress" else None
        """The ingress gateway's end of the connection between the gateways."""
        self.opened: events.Opened | None = None

    def is_at(self, leg: str) -> None:
        """Where an ingress has its end of the connection between the gateways."""
        self.leg = leg

    def verified(self) -> None:
        """There is a verdict, or none is demanded: so much for the handshake."""
        self.handshake = time.monotonic() - self.began

    @property
    def who(self) -> events.Who:
        """Which connection, and whose doing it is."""
        destination = None if self.destination is None else str(self.destination)
        source = self.peer if self._entry.role == "egress" else destination
        return events.Who(self._entry.pointer, self.peer, destination, (source or "").rpartition(":")[0])

    def take(self, event: Event, expected: Action) -> None:
        """Take the transition for ``event``: the table must oblige to what comes next in the code."""
        if (action := self.life.on(event)) is not expected:
            raise AssertionError(f"after {event.name} comes {action.name}, not {expected.name}")


def _hex(stream: Stream) -> str | None:
    digest = stream.key_digest()
    return None if digest is None else digest.hex()


def _address(sock: socket.socket) -> str | None:
    try:
        return source_of(sock.getpeername())
    except OSError:
        return None
