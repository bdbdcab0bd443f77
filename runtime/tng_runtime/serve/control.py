"""The control interface: who asks how the instance stands is answered here, by a process that can do nothing else.

It is there while somebody asks now and then, and ends when nobody has for a while: the supervisor watches the sockets.

It reads what anybody who reaches its sockets sends (h11 does, within bounds), and therefore has no capability, no rule
and no secret; it asks the supervisor for a snapshot, and gets names and numbers. ``/livez``, ``/readyz`` and
``/status/`` are those of the Rust TNG; ``/metrics`` is OpenMetrics. Who is connected (``/connections``) is told on the
unix socket alone, which belongs to the user of the instance.

A browser that was led to a loopback address by DNS has another name in its ``Host``: it gets no answer.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
import h11
from anyio.abc import SocketStream, TaskGroup, UNIXSocketStream
from anyio.streams.memory import MemoryObjectSendStream

from tng_runtime import log
from tng_runtime.messages import (
    Connections,
    ConnectionsWanted,
    Hide,
    Lost,
    Message,
    Ready,
    Serve,
    Snapshot,
    SnapshotWanted,
)
from tng_runtime.serve import privileges, syscalls
from tng_runtime.serve.channel import Channel, close_all
from tng_runtime.serve.privileges import Unprivileged
from tng_schema import contract

# At once; others wait in the kernel's queue.
MAX_CLIENTS = 64
MAX_REQUEST_BYTES = 8 << 10
REQUEST_SECONDS = 10.0
ANSWER_SECONDS = 5.0
# Who asks sooner gets the snapshot that was made for somebody else.
FRESH_SECONDS = 0.2
_LOST_SECONDS = 1.0
# Without a question; whoever scrapes metrics comes sooner, as a rule.
IDLE_SECONDS = 90.0
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of HTTP."""

    status: int
    kind: str
    body: bytes


def run(to: Unprivileged, sock: socket.socket) -> None:
    """Be the control interface until the supervisor is gone."""
    # What belongs to this process alone, read while it may read every file of ours.
    from tng_runtime.serve import metrics  # noqa: F401

    parent = os.getppid()
    privileges.drop(Unprivileged(to.uid, to.gid, frozenset()))
    privileges.die_with(parent)
    privileges.only_read_files()
    syscalls.refuse()
    anyio.run(_run, sock, backend_options={"use_uvloop": True})


async def _run(sock: socket.socket) -> None:
    log.hand_over()
    async with anyio.create_task_group() as tasks:
        control = Control(sock, tasks)
        control.supervisor.send(Ready())
        lost = 0
        while control.idle() < IDLE_SECONDS:
            await anyio.sleep(_LOST_SECONDS)
            if (now := log.lost()) != lost:
                lost = now
                control.supervisor.send(Lost(lost))
        # Nobody is in the middle of a question, and who comes now waits in the queue for the next of our kind.
        tasks.cancel_scope.cancel()
    await control.supervisor.flushed()


class Control:
    """The channel to the supervisor, and the sockets on which it is asked for."""

    def __init__(self, sock: socket.socket, tasks: TaskGroup) -> None:
        self.supervisor = Channel(sock, self._told, _supervisor_is_gone)
        self._tasks = tasks
        self._room = anyio.Semaphore(MAX_CLIENTS)
        self._last = 0
        self._public = anyio.CancelScope()
        self._answers: dict[int, MemoryObjectSendStream[Message]] = {}
        self._asking = anyio.Lock()
        self._known: tuple[float, dict[str, Any]] | None = None
        self._clients = 0
        self._since = anyio.current_time()

    def idle(self) -> float:
        """Seconds since somebody was answered."""
        return 0.0 if self._clients else anyio.current_time() - self._since

    async def reply(self, path: str, *, private: bool) -> Reply:
        """The answer to GET ``path``; ``private`` on a socket that belongs to the user of the instance."""
        try:
            if path == "/connections" and private:
                return _json(await self.connections())
            said = await self.snapshot()
        except TimeoutError:
            return Reply(503, _TEXT, b"the supervisor does not answer\n")
        match path:
            case "/livez":
                return Reply(200, _TEXT, b"ok")
            case "/readyz":
                pending = "".join(f"{line}\n" for line in said["pending"]).encode()
                return Reply(503, _TEXT, pending) if pending else Reply(200, _TEXT, b"ok")
            case "/status" | "/status/":
                return _json(said)
            case "/metrics":
                from tng_runtime.serve import metrics

                return Reply(200, metrics.CONTENT_TYPE, metrics.render(said))
            case _:
                return Reply(404, _TEXT, b"there are /livez, /readyz, /status/ and /metrics\n")

    async def snapshot(self) -> dict[str, Any]:
        """How the instance stands; raises ``TimeoutError``."""
        async with self._asking:
            if self._known is None or anyio.current_time() - self._known[0] > FRESH_SECONDS:
                data = bytearray()
                async for part in self._ask(SnapshotWanted):
                    if isinstance(part, Snapshot):
                        data += part.data
                self._known = (anyio.current_time(), json.loads(data))
            return self._known[1]

    async def connections(self) -> dict[str, Any]:
        """The open connections of all workers, oldest first; raises ``TimeoutError``."""
        found: list[dict[str, Any]] = []
        total = 0
        async for part in self._ask(ConnectionsWanted):
            if isinstance(part, Connections) and part.data:
                total += max(0, part.total)
                found += _listed(part.data)
        return {"total": total, "connections": sorted(found, key=lambda each: float(each["since"]))}

    async def _ask(self, question: type[SnapshotWanted | ConnectionsWanted]) -> AsyncIterator[Message]:
        self._last += 1
        ticket = self._last
        send, receive = anyio.create_memory_object_stream[Message](1 << 12)
        self._answers[ticket] = send
        with send, receive:
            try:
                self.supervisor.send(question(ticket))
                with anyio.fail_after(ANSWER_SECONDS):
                    more = 1
                    while more:
                        part = await receive.receive()
                        more = part.more if isinstance(part, (Snapshot, Connections)) else 0
                        yield part
            finally:
                del self._answers[ticket]

    async def _serve_all(self, listener: socket.socket, private: bool) -> None:
        # One document names one public socket.
        with listener, anyio.CancelScope() if private else self._public:
            await self.serve(listener, private=private)

    async def serve(self, listener: socket.socket, *, private: bool) -> None:
        """Answer whoever connects, until cancelled."""
        listener.setblocking(False)
        while True:
            await self._room.acquire()
            try:
                sock, _ = await self._accepted(listener)
            except OSError:
                self._room.release()
                await anyio.sleep(_LOST_SECONDS)
                continue
            self._clients += 1
            self._tasks.start_soon(self._serve, sock, private)

    async def _accepted(self, listener: socket.socket) -> tuple[socket.socket, object]:
        while True:
            await anyio.wait_readable(listener)
            with suppress(BlockingIOError, ConnectionAbortedError):
                return listener.accept()

    async def _serve(self, sock: socket.socket, private: bool) -> None:
        try:
            sock.setblocking(False)
            kind = UNIXSocketStream if sock.family == socket.AF_UNIX else SocketStream
            with anyio.move_on_after(REQUEST_SECONDS):
                async with await kind.from_socket(sock) as stream:
                    await self._answer(stream, private)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
            pass
        except Exception as error:
            log.error("bug", process="control", error=f"{type(error).__name__}: {error}", advice="please report it")
        finally:
            sock.close()
            self._room.release()
            self._clients, self._since = self._clients - 1, anyio.current_time()

    async def _answer(self, stream: SocketStream, private: bool) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_REQUEST_BYTES)
        try:
            while isinstance(event := connection.next_event(), type(h11.NEED_DATA)):
                connection.receive_data(await stream.receive(MAX_REQUEST_BYTES))
            if not isinstance(event, h11.Request):
                return
            reply = await self._reply_to(event, private)
        except h11.RemoteProtocolError as error:
            reply = Reply(error.error_status_hint, _TEXT, b"this is no request that is understood here\n")
        headers = [
            ("Content-Type", reply.kind),
            ("Content-Length", str(len(reply.body))),
            ("Cache-Control", "no-store"),
            ("Connection", "close"),
        ]
        said = connection.send(h11.Response(status_code=reply.status, headers=headers)) or b""
        if connection.our_state is h11.SEND_BODY:
            said += connection.send(h11.Data(data=reply.body)) or b""
            said += connection.send(h11.EndOfMessage()) or b""
        await stream.send(said)
        await stream.send_eof()

    async def _reply_to(self, request: h11.Request, private: bool) -> Reply:
        if request.method not in (b"GET", b"HEAD"):
            return Reply(405, _TEXT, b"GET is all that is answered here\n")
        if not private and not _asked_by_address(request):
            return Reply(403, _TEXT, b"ask by address, or as localhost\n")
        return await self.reply(request.target.split(b"?")[0].decode("ascii", "replace"), private=private)

    def _told(self, message: Message, descriptors: tuple[int, ...]) -> None:
        match message:
            case Serve(private):
                self._tasks.start_soon(self._serve_all, socket.socket(fileno=descriptors[0]), bool(private))
            case Hide():
                self._public.cancel()
            case Snapshot(ticket=ticket) | Connections(ticket=ticket) if ticket in self._answers:
                with suppress(anyio.WouldBlock):
                    self._answers[ticket].send_nowait(message)
            case _:
                close_all(descriptors)


def _asked_by_address(request: h11.Request) -> bool:
    """Whether ``Host`` (RFC 9110, section 7.2) is an address or localhost, as no name in the DNS of others is."""
    host = next((value.decode("ascii", "replace") for name, value in request.headers if name == b"host"), "")
    name = host[: host.rindex("]") + 1] if "]" in host else host.partition(":")[0]
    return contract.is_loopback(name) or contract.is_address(name)


_LONGEST = 300
_COLUMNS: dict[str, type | tuple[type, ...]] = {
    "entry": str,
    "src": str,
    "dst": str,
    "direction": str,
    "leg": str,
    "bytes_sent": int,
    "bytes_received": int,
    "duration": (int, float),
    "verdict": str,
    "peer": str,
    "since": (int, float),
}


def _listed(data: bytes) -> list[dict[str, Any]]:
    """What a worker, which may have been taken over, says of its connections: our columns, of their types."""
    try:
        rows = json.loads(data)
    except ValueError:
        return []
    found = [
        {name: row.get(name) if _harmless(row.get(name), kind) else None for name, kind in _COLUMNS.items()}
        for row in (rows if isinstance(rows, list) else [])
        if isinstance(row, dict)
    ]
    return [row for row in found if row["since"] is not None]


def _harmless(value: object, kind: type | tuple[type, ...]) -> bool:
    """Of that type, and nothing that a terminal would obey."""
    text = not isinstance(value, str) or (len(value) <= _LONGEST and value.isascii() and value.isprintable())
    return isinstance(value, kind) and text


def _json(value: object) -> Reply:
    return Reply(200, _JSON, json.dumps(value, indent=2, ensure_ascii=True).encode() + b"\n")


def _supervisor_is_gone(_: str | None) -> None:
    os._exit(0)
