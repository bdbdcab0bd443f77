"""One captured connection, from the accepted socket to its end: the lifecycle's actions, carried out in its order."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import UTC, datetime

import anyio

from tng_runtime import events
from tng_runtime.accept.lifecycle import Action, Event, Lifecycle
from tng_runtime.attest.codes import Code
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.dialling import Dialler
from tng_runtime.kernel.own import OwnConnections, source_of
from tng_runtime.kernel.readiness import Poller, ignore
from tng_runtime.kernel.sockets import ClientLeftError, Destination, abort, original_destination
from tng_runtime.manifest import Entry
from tng_runtime.relay.carrier import Accepts, Opens, Stream
from tng_runtime.relay.link import Report
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
            self._tell(events.Refusal(session.who, refused.code, refused.detail))
        except Exception as error:
            self._tell(events.Failed(session.who, f"{type(error).__name__}: {error}"))

    def _arrive(self, session: _Session, captured: socket.socket) -> Destination:
        if session.peer is None:
            raise ClientLeftError
        session.destination = destination = original_destination(captured)
        if self._own.has(session.peer, destination):
            raise Refused(LinkCode.NET_LOOP, "the connection is one that this program dialled itself")
        self._poller.register(captured.fileno(), ignore)
        return destination

    @abstractmethod
    async def _carry(self, session: _Session, captured: socket.socket) -> None:
        """From the captured connection to the end of all that is relayed for it."""

    async def _relay(self, session: _Session, stream: Stream, plain: socket.socket) -> None:
        """Relay until the report; raises ``Refused`` where the end is a reason to."""
        seconds = self._session_seconds(stream)
        if seconds is None:
            report = await stream.relay(plain, session.life)
        else:
            with anyio.move_on_after(seconds) as scope:
                report = await stream.relay(plain, session.life)
            if scope.cancelled_caught:
                raise Refused(Code.SESSION_AGE, "the verdict on this connection has ended (max_session_age)")
        if report.ending is Event.TLS_FLOODED:
            raise Refused(LinkCode.TLS_FLOOD, "the peer sends key updates or tickets without end")
        self._tell(_closed(session.who, stream, report))

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
        self._carrier = carrier

    async def _carry(self, session: _Session, captured: socket.socket) -> None:
        destination = self._arrive(session, captured)
        session.take(Event.CAPTURED, Action.CARRY)
        stream = await self._carrier.open(destination, network_of(session.who.source))
        try:
            session.take(Event.VERIFIED, Action.RELAY)
            await self._relay(session, stream, captured)
        finally:
            stream.close()


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
        destination = self._arrive(session, captured)

        async def serve(stream: Stream, towards: Destination) -> None:
            each = _Session(self._entry, session.peer, towards)
            try:
                await self._told(each, self._serve(each, stream, towards))
            finally:
                stream.close()

        await self._carrier.accept(captured, destination, network_of(session.who.source), serve)

    async def _serve(self, session: _Session, stream: Stream, towards: Destination) -> None:
        session.take(Event.CAPTURED, Action.CARRY)
        session.take(Event.VERIFIED, Action.DIAL)
        backend = await self._dialler.dial(towards, LinkCode.NET_RESET)
        try:
            session.take(Event.CONNECTED, Action.RELAY)
            await self._relay(session, stream, backend.sock)
        finally:
            backend.close()


class _Session:
    """What is relayed for one application: its place in the lifecycle, and the words about it."""

    __slots__ = ("_entry", "destination", "life", "peer")

    def __init__(self, entry: Entry, peer: str | None, destination: Destination | None = None) -> None:
        self._entry = entry
        self.life = Lifecycle(entry.role)
        self.peer = peer
        self.destination = destination

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


def _closed(who: events.Who, stream: Stream, report: Report) -> events.Closed:
    """The end of a connection that was relayed."""
    verdict = stream.verdict
    verified = None if verdict is None else tuple(verdict.policy_ids)
    ending = report.ending.name.lower()
    return events.Closed(who, ending, report.to_tls, report.to_plain, stream.group, stream.cipher, verified)


def _address(sock: socket.socket) -> str | None:
    try:
        return source_of(sock.getpeername())
    except OSError:
        return None
