"""The door of an HTTP proxy: one connection of a program, and each request on it judged for itself.

CONNECT is answered when the verdict stands, and from then on the connection is a stream like a captured one; what was
sent early is still in the socket. Any other request is forwarded: to its origin leads a pair of sockets, whose far end
is relayed like a captured connection, and ``http_forward`` speaks HTTP on both sides of the near one. Requests of one
origin that follow each other share it, as they share the connection that they come on; another origin gets another.

A refusal is an answer with ``TNG-Code`` and words about it, and ends the connection.
"""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.names import Target
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import ClientLeftError
from tng_runtime.relay import http_head
from tng_runtime.relay.duplex import BrokenError, Duplex
from tng_runtime.relay.filters import Filters, Way
from tng_runtime.relay.http_forward import AbandonedError, Exchange
from tng_runtime.relay.http_head import HEAD_BYTES, Request, Unfit

# For a head, from its first byte; and for that, on a connection that has been used.
HEAD_SECONDS, IDLE_SECONDS = 10.0, 60.0
_END_SECONDS = 1.0
_CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PHRASES = {
    400: "Bad Request",
    403: "Forbidden",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    502: "Bad Gateway",
    505: "HTTP Version Not Supported",
}


class Succeeds(Protocol):
    """Who waits for a stream."""

    def succeed(self) -> None:
        """There is one: the verdict stands."""
        ...


class Waits(Succeeds, Protocol):
    """Who waits for a stream, or for the reason why there is none."""

    def failed(self, refused: Refused) -> None:
        """There is none, or it ended like this."""
        ...


class Carries(Protocol):
    """What a session does for the door. The poller watches the sockets."""

    def ask(self, target: Target | None) -> None:
        """What is asked for now."""
        ...

    async def connect(self, way: Way, asked: Succeeds) -> None:
        """Relay the connection itself; raises ``Refused``."""
        ...

    async def branch(self, way: Way, plain: socket.socket, asked: Waits) -> None:
        """Relay ``plain`` beside it; tells how it ended, and raises nothing but cancellation."""
        ...


Place = tuple[str, int, bool]


class Idle:
    """The programs of a proxy that have been answered and ask for nothing more, until ``end``: then they are let go."""

    def __init__(self) -> None:
        self._waiting: set[anyio.CancelScope] = set()
        self._over = False

    async def wait(self, asks: Coroutine[Any, Any, bytes]) -> bytes:
        """What ``asks`` returns; nothing if it is over before that."""
        with anyio.CancelScope() as scope:
            if self._over:
                scope.cancel()
            self._waiting.add(scope)
            try:
                return await asks
            finally:
                self._waiting.discard(scope)
        return b""

    def end(self) -> None:
        """Let all of them go, now and from now on."""
        self._over = True
        for scope in tuple(self._waiting):
            scope.cancel()


class HttpDoor:
    """One connection to a proxy with ``filters``; ``idle`` are the connections to it that wait for a request."""

    def __init__(self, filters: Filters, idle: Idle, poller: Poller, carries: Carries) -> None:
        self._filters, self._idle, self._poller, self._carries = filters, idle, poller, carries

    async def serve(self, sock: socket.socket) -> None:
        """See one connection to its end; raises ``Refused`` and ``ClientLeftError``.

        A socket that is still open then is to be reset.
        """
        program = _Program(sock, self._poller, self._idle)
        problem: Exception | None = None
        async with anyio.create_task_group() as streams:
            try:
                await self._requests(program, streams)
            except Exception as error:  # raised again, but not in a group
                problem = error
            streams.cancel_scope.cancel()
        if isinstance(problem, BrokenError):
            raise ClientLeftError from None
        if isinstance(problem, AbandonedError):
            return
        if isinstance(problem, _ToldError):
            await program.refuse(problem.refused)
            return
        if problem is not None:
            if isinstance(problem, Refused):
                await program.refuse(problem)
            raise problem
        if sock.fileno() >= 0:
            await program.duplex.close_in_order()

    async def _requests(self, program: _Program, streams: TaskGroup) -> None:
        origin: _Origin | None = None
        try:
            while (request := await program.next()) is not None:
                self._carries.ask(None)
                way = await self._filters.way(request.host, request.port)
                self._carries.ask(way.target)
                if request.forwarded is None:
                    await self._connect(program, way)
                    return
                place = (request.host.lower(), request.port, way.direct)
                if origin is not None and (origin.place != place or origin.is_over()):
                    streams.start_soon(origin.close)
                    origin = None
                used = origin is not None
                origin = origin or await self._open(place, way, streams)
                exchange = Exchange(request, program.left, program.duplex, origin.duplex, origin.is_cut)
                try:
                    going_on = await exchange.run()
                except Refused:
                    if not (used and request.may_be_repeated):
                        raise
                    # The origin closed what it had kept open, just as the request came.
                    await origin.close()
                    origin = await self._open(place, way, streams)
                    again = http_head.read(request.head)
                    exchange = Exchange(again, program.left, program.duplex, origin.duplex, origin.is_cut)
                    going_on = await exchange.run()
                program.left = exchange.left
                if not going_on:
                    program.duplex.finish()
                if not exchange.origin_goes_on:
                    await origin.close()
                    origin = None
                if not going_on:
                    return
        finally:
            if origin is not None:
                await origin.close()

    async def _connect(self, program: _Program, way: Way) -> None:
        if program.left:
            raise Unfit(400, "CONNECT came together with the end of another request")
        await self._carries.connect(way, program)

    async def _open(self, place: Place, way: Way, streams: TaskGroup) -> _Origin:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            for each in (near, far):
                self._poller.register(each.fileno())
        except BaseException:
            for each in (near, far):
                self._poller.forget(each.fileno())
                each.close()
            raise
        origin = _Origin(place, Duplex(near, self._poller), far)
        streams.start_soon(origin.run, self._carries.branch(way, far, origin), self._poller)
        try:
            await origin.decided.wait()
            if origin.refused is not None:
                raise _ToldError(origin.refused)
        except BaseException:
            origin.duplex.close()
            raise
        return origin


class _ToldError(Exception):
    """There is no way to the origin, and the session of that has told so."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(str(refused))
        self.refused = refused


class _Program:
    """The connection of a program; ``left`` is what was read of it and belongs to its next request."""

    def __init__(self, sock: socket.socket, poller: Poller, idle: Idle) -> None:
        self.duplex, self._idle = Duplex(sock, poller), idle
        self.left = b""
        self._used = self._answered = False

    async def next(self) -> Request | None:
        """The next request; None if there is none. Raises ``Refused`` or ``BrokenError``."""
        try:
            head = await self._head()
        except TimeoutError:
            problem = f"there was no whole request within {HEAD_SECONDS:g} s"
            raise Unfit(408, problem) from None
        if head is None:
            return None
        self._used, self._answered = True, False
        return http_head.read(head)

    async def _head(self) -> bytes | None:
        data, deadline = b"", self.duplex.deadline(HEAD_SECONDS)
        if not self.left and self._used:
            try:
                if not await self._idle.wait(self.duplex.peek(1, self.duplex.deadline(IDLE_SECONDS))):
                    return None
            except TimeoutError:
                return None
            deadline = self.duplex.deadline(HEAD_SECONDS)
        while len(data) < HEAD_BYTES:
            more = self.left or await self.duplex.peek(HEAD_BYTES - len(data), deadline)
            if not more:
                raise BrokenError("the program left")
            end = (data[-3:] + more).find(b"\r\n\r\n")
            take = len(more) if end < 0 else end + 4 - len(data[-3:])
            self.left = self.left[take:] if self.left else await self._taken(take, deadline)
            data += more[:take]
            if end >= 0:
                return data
        raise Unfit(431, f"the head of the request has more than {HEAD_BYTES} bytes")

    async def _taken(self, count: int, deadline: float) -> bytes:
        await self.duplex.receive(deadline, count)
        return b""

    def succeed(self) -> None:
        """Answer CONNECT."""
        self._answered = True
        self.duplex.send_now(_CONNECTED)

    async def refuse(self, refused: Refused) -> None:
        """Say why there is nothing, unless something was answered already."""
        if self._answered or self.duplex.sock.fileno() < 0:
            return
        status = 403 if refused.code is LinkCode.NET_DOOR else 502
        if isinstance(refused, Unfit):
            status = refused.status
        body = f"tng: {refused.code}: {refused.detail}\n{refused.code.meaning}\n{refused.code.action}\n".encode()
        head = (
            f"HTTP/1.1 {status} {_PHRASES.get(status, 'Refused')}\r\nTNG-Code: {refused.code}\r\n"
            f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.duplex.send_now(head.encode("ascii") + body)
        await self.duplex.close_in_order()


class _Origin:
    """The way to one origin: ``duplex`` is the near end of what is relayed, ``far`` the other.

    ``decided`` is set when there is a stream, or ``refused`` says why not.
    """

    def __init__(self, place: Place, duplex: Duplex, far: socket.socket) -> None:
        self.place, self.duplex, self._far = place, duplex, far
        self.decided, self._ended = anyio.Event(), anyio.Event()
        self.refused: Refused | None = None
        self._scope = anyio.CancelScope()

    def is_cut(self) -> bool:
        """Whether the relay ended by itself, and so by a break: in order it ends when both sides have ended."""
        return self._far.fileno() < 0

    def is_over(self) -> bool:
        """Whether the origin has ended, or says what nobody asked for, while nothing is asked of it."""
        try:
            self.duplex.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    async def run(self, carried: Coroutine[Any, Any, None], poller: Poller) -> None:
        """Relay until the end."""
        try:
            with self._scope:
                await carried
        finally:
            carried.close()
            if self._far.fileno() >= 0:
                poller.forget(self._far.fileno())
                self._far.close()
            if not self.decided.is_set():
                self.refused = self.refused or Refused(LinkCode.NET_ORIGIN, "the connection to it was given up")
                self.decided.set()
            self._ended.set()

    def succeed(self) -> None:
        """See ``Succeeds``."""
        self.decided.set()

    def failed(self, refused: Refused) -> None:
        """See ``Waits``."""
        self.refused = refused

    async def close(self) -> None:
        """End it in order, or after a moment in any case."""
        self.duplex.close()
        with anyio.move_on_after(_END_SECONDS):
            await self._ended.wait()
        self._scope.cancel()
