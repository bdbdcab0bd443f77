"""One request forwarded to its origin, and the answer to it.

Both are read and written anew, each by a connection of h11 of its own, so that what one side calls the end of a message
is never the other side's choice. An answer may come before the request is over; then nothing follows on either side.
"""

from __future__ import annotations

from collections.abc import Callable

import anyio
import h11

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.relay.duplex import FOR_EVER, BrokenError, Duplex
from tng_runtime.relay.http_head import Request, Unfit, answer_fields, why

# Of the head of an answer.
_ANSWER_BYTES = 64 << 10


class AbandonedError(Exception):
    """The answer broke off in the middle: the program must not take it for a whole one."""


class _OriginError(Exception):
    """The origin's connection broke, or what it says is no answer."""


class Exchange:
    """``early`` was read of the program after the head. ``cut``: whether the origin's connection broke (it ends else).

    After ``run``: ``left`` is of the program's next request, ``origin_goes_on`` whether the origin's connection may
    be used for another, ``begun`` whether there was an answer.
    """

    def __init__(
        self, request: Request, early: bytes, program: Duplex, origin: Duplex, cut: Callable[[], bool]
    ) -> None:
        self._request, self._reader = request, request.reader
        self._program, self._origin, self._cut = program, origin, cut
        self._writer = h11.Connection(h11.CLIENT, max_incomplete_event_size=_ANSWER_BYTES)
        self.left = early if request.ends else b""
        if early and not request.ends:
            self._reader.receive_data(early)
        self.begun = self.origin_goes_on = False
        self._answered: list[bytes] = []

    async def run(self) -> bool:
        """See it through; True if another request may follow.

        Raises ``Refused`` before the answer has begun, ``AbandonedError`` after that, ``BrokenError`` for the program.
        """
        assert self._request.forwarded is not None, "CONNECT is not forwarded"
        try:
            # A program that is gone while its origin takes its time would be noticed by the next write only.
            with anyio.CancelScope() as scope:
                self._program.gone = scope.cancel
                await self._exchange(self._request.forwarded)
            if scope.cancelled_caught:
                raise BrokenError("the program is gone")
        except _OriginError as error:
            if self.begun:
                raise AbandonedError(str(error)) from None
            raise Refused(LinkCode.NET_ORIGIN, str(error)) from None
        whole = self._reader.our_state is h11.DONE and self._reader.their_state is h11.DONE
        if whole and not self._request.ends:
            self.left = self._reader.trailing_data[0]
        done = self._writer.our_state is h11.DONE and self._writer.their_state is h11.DONE
        self.origin_goes_on = done and not self._writer.trailing_data[0]
        return whole

    async def _exchange(self, forwarded: h11.Request) -> None:
        try:
            await self._to_origin(forwarded)
            if self._request.ends:
                await self._to_origin(h11.EndOfMessage())
                await self._answer()
            else:
                await self._both()
        finally:
            self._program.gone = None

    async def _both(self) -> None:
        problems: list[Exception] = []

        async def body() -> None:
            try:
                await self._body()
            except _OriginError:
                return  # it may have answered before it closed
            except (Refused, BrokenError) as error:
                problems.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(body)
            try:
                await self._answer()
            except (_OriginError, BrokenError) as error:
                problems.append(error)
            tasks.cancel_scope.cancel()
        if problems:
            raise problems[0]

    async def _body(self) -> None:
        while True:
            try:
                event = self._reader.next_event()
                if event is h11.NEED_DATA:
                    self._reader.receive_data(await self._program.receive(self._program.deadline(FOR_EVER)))
                    continue
            except h11.RemoteProtocolError as error:
                raise Unfit(400, why(error)) from None
            if isinstance(event, h11.Data):
                await self._to_origin(h11.Data(data=event.data))
            else:
                # Trailers may be left out on the way (RFC 9110, section 6.5.1).
                await self._to_origin(h11.EndOfMessage())
                return

    async def _answer(self) -> None:
        while True:
            event = await self._said_by_origin()
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    raise _OriginError("the origin switches to a protocol that nobody asked for")
                if self._reader.their_http_version != b"1.0":
                    fields = answer_fields(event.headers.raw_items())
                    self._to_program(
                        h11.InformationalResponse(status_code=event.status_code, headers=fields, reason=event.reason)
                    )
            elif isinstance(event, h11.Response):
                self.begun = True
                fields = answer_fields(event.headers.raw_items())
                self._to_program(h11.Response(status_code=event.status_code, headers=fields, reason=event.reason))
            elif isinstance(event, h11.Data):
                self._to_program(h11.Data(data=event.data))
            else:
                self._to_program(h11.EndOfMessage())
                await self._flush()
                return

    async def _said_by_origin(self) -> h11.Event:
        while True:
            try:
                event = self._writer.next_event()
                if not isinstance(event, type) or event not in (h11.NEED_DATA, h11.PAUSED):
                    assert isinstance(event, h11.Event)
                    return event
                await self._flush()
                data = await self._origin.receive(self._origin.deadline(FOR_EVER))
                if not data and self._cut():
                    raise _OriginError("the connection to the origin broke off")
                self._writer.receive_data(data)
                if not data and self._writer.their_state is h11.SEND_RESPONSE:
                    raise _OriginError("the origin closed the connection and did not answer")
            except h11.RemoteProtocolError as error:
                raise _OriginError(f"the origin's answer is not HTTP: {why(error)}") from None
            except BrokenError as error:
                raise _OriginError(f"the connection to the origin broke off: {error}") from None

    async def _to_origin(self, event: h11.Event) -> None:
        data = self._writer.send(event)
        if data:
            try:
                await self._origin.send(data, self._origin.deadline(FOR_EVER))
            except BrokenError as error:
                raise _OriginError(f"the connection to the origin broke off: {error}") from None

    def _to_program(self, event: h11.Event) -> None:
        """Write it, to be sent with what else the origin has said already."""
        try:
            data = self._reader.send(event)
        except h11.LocalProtocolError as error:
            raise _OriginError(f"the origin's answer cannot be passed on: {why(error)}") from None
        if data:
            self._answered.append(data)

    async def _flush(self) -> None:
        if self._answered:
            data, self._answered = b"".join(self._answered), []
            await self._program.send(data, self._program.deadline(FOR_EVER))
