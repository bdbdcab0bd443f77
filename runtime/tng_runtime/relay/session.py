"""One captured connection, from the accepted socket to its end: the lifecycle's actions, carried out in its order."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from datetime import UTC, datetime

import anyio

from tng_runtime import events
from tng_runtime.accept.lifecycle import Action, Event, Lifecycle
from tng_runtime.accept.limits import Handshakes
from tng_runtime.attest.codes import Code
from tng_runtime.errors import HostError, LinkCode, Refused
from tng_runtime.kernel.liveness import carry_for_others
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import (
    ClientLeftError,
    Destination,
    abort,
    bind_to_client,
    dial_socket,
    sent_by_this_host,
)
from tng_runtime.manifest import Entry
from tng_runtime.relay.introduction import introduce
from tng_runtime.relay.link import Relay, Report
from tng_runtime.relay.own import OwnConnections, source_of
from tng_runtime.relay.reach import Named, Target, first_to_connect, resolve, target_of
from tng_runtime.relay.socks5 import NEGOTIATION_SECONDS, Asked, elsewhere
from tng_runtime.tunnel.handshake import VERDICT_SECONDS, AttestedStream, Door, Handshaken
from tng_runtime.tunnel.turns import network_of

DIAL_SECONDS = 10.0
# What SO_ERROR says of a socket that was connected, and reset before anybody looked (kernel: net/ipv4/tcp_input.c,
# tcp_reset); a connection that was not made at all is ECONNREFUSED.
_RESET = (errno.ECONNRESET, errno.EPIPE)


class Sessions:
    """The connections of one entry; ``own`` is that of all entries."""

    def __init__(
        self,
        entry: Entry,
        door: Door,
        relay: Relay,
        poller: Poller,
        told: events.Events,
        own: OwnConnections,
        handshakes: Handshakes,
    ) -> None:
        self._entry = entry
        self._door = door
        self._relay = relay
        self._poller = poller
        self._tell = told.tell
        self._own = own
        self._handshakes = handshakes

    async def serve(self, captured: socket.socket) -> None:
        """See one captured connection through to its end. Nothing but cancellation is raised."""
        session = _Session(self._entry, self._door, self._relay, self._poller, self._own, self._handshakes, captured)
        try:
            report = await session.run()
            if report.ending is Event.TLS_FLOODED:
                raise Refused(LinkCode.TLS_FLOOD, "the peer sends key updates or tickets without end")
            self._tell(session.closed(report))
        except ClientLeftError:
            self._tell(events.Left(session.who))
        except Refused as refused:
            self._tell(events.Refusal(session.who, refused.code, refused.detail))
        except Exception as error:
            self._tell(events.Failed(session.who, f"{type(error).__name__}: {error}"))
        finally:
            session.close()


class _Session:
    def __init__(
        self,
        entry: Entry,
        door: Door,
        relay: Relay,
        poller: Poller,
        own: OwnConnections,
        handshakes: Handshakes,
        captured: socket.socket,
    ) -> None:
        self._entry = entry
        self._door = door
        self._relay = relay
        self._poller = poller
        self._own = own
        self._handshakes = handshakes
        self._until_verdict = contextlib.ExitStack()
        self._ending = contextlib.ExitStack()
        self._life = Lifecycle(entry.role)
        self._captured = captured
        self._dialled: socket.socket | None = None
        self._destination: Destination | None = None
        self._target: Target | None = None
        self._asked: Asked | None = None
        self._peer = _address(captured)
        self._stream: AttestedStream | None = None

    @property
    def who(self) -> events.Who:
        """Which connection, and whose doing it is."""
        destination = None if self._target is None else str(self._target)
        source = self._peer if self._entry.role == "egress" else destination
        return events.Who(self._entry.pointer, self._peer, destination, (source or "").rpartition(":")[0])

    async def run(self) -> Report:
        """Carry out the table's actions until the relay's report; raises ``Refused`` or ``ClientLeftError``."""
        end = self._poller.time() + VERDICT_SECONDS
        if self._peer is None:
            raise ClientLeftError
        self._destination, self._target = target_of(self._entry, self._captured)
        if self._may_be_ours() and self._own.has(self._peer, self._destination):
            raise Refused(LinkCode.NET_LOOP, "the connection is one that this program dialled itself")
        source = network_of(self.who.source)
        # Where it is a program of this host that begins them, none of them is a stranger's.
        counted = source if self._entry.role == "egress" else None
        self._handshakes.begin(counted)
        self._until_verdict.callback(self._handshakes.end, counted)
        self._poller.register(self._captured.fileno(), _ignore)
        if self._entry.socks5 is not None:
            self._asked = asked = Asked(self._captured, self._poller, self._entry.socks5)
            self._target = await asked.target(min(end, self._poller.time() + NEGOTIATION_SECONDS))
            source = network_of(self.who.source)
        shaken: Handshaken | None = None
        action = self._life.on(Event.CAPTURED)
        while action is not Action.RELAY:
            match action:
                case Action.DIAL:
                    self._dialled = await self._reach(self._target)
                    if self._stream is not None:
                        introduce(self._dialled, self._entry, self._peer, self._destination, self._stream)
                    action = self._life.on(Event.CONNECTED)
                case Action.HANDSHAKE:
                    shaken = await self._door.handshake(self._tls_side(), source, end)
                    action = self._life.on(Event.HANDSHAKEN)
                case Action.VERIFY if shaken is not None:
                    self._stream = await self._door.verify(shaken)
                    self._until_verdict.close()
                    action = self._life.on(Event.VERIFIED)
                case _:
                    raise AssertionError(f"{action} before the relay")
        assert self._stream is not None, "the table verifies before it relays"
        if self._asked is not None:
            self._asked.succeed()
        return await self._relayed(self._stream)

    def _may_be_ours(self) -> bool:
        # Elsewhere a client may have the very address and port that we dial from on another client's behalf.
        return self._entry.client_address == "tunnel" or sent_by_this_host(self._captured)

    async def _relayed(self, stream: AttestedStream) -> Report:
        assert self._dialled is not None, "the table dials before it relays"
        plain = self._captured if self._entry.role == "ingress" else self._dialled
        seconds = self._session_seconds(stream)
        if seconds is None:
            return await self._relay.run(stream, plain, self._life)
        with anyio.move_on_after(seconds):
            return await self._relay.run(stream, plain, self._life)
        raise Refused(Code.SESSION_AGE, "the verdict on this connection has ended (max_session_age)")

    def _session_seconds(self, stream: AttestedStream) -> float | None:
        verify = self._entry.verify
        if verify is None or verify.max_session_age is None or stream.verdict is None:
            return None
        ends = stream.verdict.expires_at
        left = (ends - datetime.now(UTC)).total_seconds() if ends is not None else float(verify.max_session_age)
        return max(0.0, min(left, float(verify.max_session_age)))

    def _tls_side(self) -> socket.socket:
        if self._entry.role == "egress":
            return self._captured
        assert self._dialled is not None, "the table dials before an ingress shakes hands"
        return self._dialled

    async def _reach(self, target: Target) -> socket.socket:
        if isinstance(target, Named):
            addresses = await resolve(target, DIAL_SECONDS)
            if self._asked is not None:
                addresses = elsewhere(target, addresses)
            return await first_to_connect(addresses, self._dial, self._give_up)
        return await self._dial(target)

    async def _dial(self, destination: Destination) -> socket.socket:
        try:
            sock = dial_socket(destination.family, self._entry.so_mark)
        except HostError as error:
            raise Refused(LinkCode.NET_LIMIT, error.message) from None
        try:
            await self._connect(sock, destination)
        except BaseException:
            self._give_up(sock)
            raise
        return sock

    async def _connect(self, sock: socket.socket, destination: Destination) -> None:
        carry_for_others(sock)
        if self._entry.client_address == "original" and self._peer is not None:
            bind_to_client(sock, self._peer.rpartition(":")[0].strip("[]"))
        code = sock.connect_ex(destination.sockaddr)
        self._ending.enter_context(self._own.dialled(sock, destination))
        if code == errno.EINPROGRESS:
            self._poller.register(sock.fileno(), _ignore)
            with contextlib.suppress(TimeoutError):
                await self._poller.wait(sock.fileno(), self._poller.time() + DIAL_SECONDS)
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        elif not code:
            self._poller.register(sock.fileno(), _ignore)
        if code in _RESET:
            taken = f"{destination} took the connection and reset it at once"
            raise Refused(LinkCode.TLS_BROKEN if self._entry.role == "ingress" else LinkCode.NET_RESET, taken)
        if code:
            why = f"no answer in {DIAL_SECONDS:g} s" if code == errno.EINPROGRESS else os.strerror(code)
            raise Refused(LinkCode.NET_DIAL, f"{destination}: {why}")

    def _give_up(self, sock: socket.socket) -> None:
        self._poller.forget(sock.fileno())
        abort(sock)

    def closed(self, report: Report) -> events.Closed:
        """The end of a connection that was relayed."""
        assert self._stream is not None
        verdict = self._stream.verdict
        return events.Closed(
            self.who,
            report.ending.name.lower(),
            report.to_tls,
            report.to_plain,
            self._stream.group,
            self._stream.cipher,
            None if verdict is None else tuple(verdict.policy_ids),
        )

    def close(self) -> None:
        """Whatever is still open ends with a reset: the captured application must not take it for an end."""
        if self._asked is not None:
            self._asked.fail()
        self._until_verdict.close()
        self._ending.close()
        for sock in (self._captured, self._dialled):
            if sock is not None and sock.fileno() >= 0:
                self._give_up(sock)


def _ignore(_: int) -> None:
    return None


def _address(sock: socket.socket) -> str | None:
    try:
        return source_of(sock.getpeername())
    except OSError:
        return None
