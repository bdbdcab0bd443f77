"""A worker: accept, TLS, the one door, relay. It reads what strangers send, and can change nothing on this host.

Its listeners come from the supervisor and are shared with the other workers; who we are and whom we believe it knows
from the judge. It ends when the supervisor says so and nothing is relayed any more, or at once when that is gone: its
sockets are made to end with a reset then (``kernel.liveness``).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from functools import partial

import anyio

from tng_runtime import log
from tng_runtime.accept.acceptor import Acceptor
from tng_runtime.accept.limits import Handshakes, Limits
from tng_runtime.counts import Counts
from tng_runtime.events import Access, Events
from tng_runtime.kernel.own import OwnConnections
from tng_runtime.kernel.readiness import Poller
from tng_runtime.manifest import Entry, Manifest
from tng_runtime.messages import (
    Connections,
    ConnectionsWanted,
    Drain,
    Listen,
    Lost,
    Message,
    Pause,
    Paused,
    Ping,
    Pong,
    Ready,
    Tally,
    UseJudge,
)
from tng_runtime.relay import raw
from tng_runtime.relay.link import Relay
from tng_runtime.relay.session import Sessions
from tng_runtime.serve import connections, privileges, syscalls, tally
from tng_runtime.serve.channel import Channel, close_all
from tng_runtime.serve.privileges import Unprivileged
from tng_runtime.serve.remote import JudgeLine, RemoteIdentity, RemoteVerifier
from tng_runtime.tunnel.credentials import Credentials
from tng_runtime.tunnel.handshake import Door

TALLY_SECONDS = 1.0
MANY = 20_000
# Open connections that are told of when somebody asks, some 400 bytes each.
MOST_LISTED = 1000


def run(manifest: Manifest, to: Unprivileged, limits: Limits, access: Access, sock: socket.socket) -> None:
    """Be a worker until there is nothing left to do."""
    parent = os.getppid()
    privileges.drop(to)
    privileges.die_with(parent)
    privileges.only_read_files()
    syscalls.refuse(borrows=manifest.way_back is not None)
    anyio.run(_run, manifest, limits, access, sock, backend_options={"use_uvloop": True})


async def _run(manifest: Manifest, limits: Limits, access: Access, sock: socket.socket) -> None:
    log.hand_over()
    async with anyio.create_task_group() as background:
        worker = Worker(manifest, limits, access, sock)
        background.start_soon(worker.tell_when_ready)
        background.start_soon(worker.tally)
        await worker.connections.ended()
        background.cancel_scope.cancel()
    worker.events.close()
    worker.tell_counts()
    await worker.supervisor.flushed()


class Worker:
    """One worker's connections and its two channels."""

    def __init__(self, manifest: Manifest, limits: Limits, access: Access, sock: socket.socket) -> None:
        self.supervisor = Channel(sock, self._told, _supervisor_is_gone)
        self._counts = Counts()
        self.events = Events(self._counts, access)
        self._pointers = [entry.pointer for entry in manifest.entries]
        self._told_counts: dict[int, Tally] = {}
        self._told_lost = 0
        self._acceptor = Acceptor(limits.connections, self.events.tell)
        self.connections = connections.Connections(self._acceptor.release)
        self._handshakes = Handshakes(limits.handshakes, self.events.tell)
        self._judge = JudgeLine(self._give)
        self._identities = [_identity(self._judge, number, entry) for number, entry in enumerate(manifest.entries)]
        self._sessions: list[Sessions] = []
        self._handlers = self._make_handlers(manifest)

    async def tell_when_ready(self) -> None:
        """Tell the supervisor when every entry has a certificate."""
        for identity in self._identities:
            await identity.given.wait()
        self.supervisor.send(Ready())

    async def tally(self) -> None:
        """Tell the supervisor what happened, now and then, so that little is lost with a worker that dies."""
        while True:
            # Whose bytes are to be summed: some 0.5 us for each.
            await anyio.sleep(TALLY_SECONDS * max(1, len(self.events.open) // MANY))
            self.tell_counts()

    def tell_counts(self) -> None:
        """Tell the supervisor what happened, unless it knows."""
        for now in tally.tallies(self._counts, self._pointers, self.events.bytes_open()):
            if now != self._told_counts.get(now.entry):
                self._told_counts[now.entry] = now
                self.supervisor.send(now)
        if (lost := log.lost()) != self._told_lost:
            self._told_lost = lost
            self.supervisor.send(Lost(lost))

    def _make_handlers(self, manifest: Manifest) -> list[Callable[[socket.socket], None]]:
        poller = Poller()
        relay, own = Relay(poller), OwnConnections()

        def handler(number: int, entry: Entry) -> Callable[[socket.socket], None]:
            verifier = (
                RemoteVerifier(self._judge, number, self._counts.of(entry.pointer).verdicts) if entry.verify else None
            )
            door = Door("client" if entry.role == "ingress" else "server", self._identities[number], verifier, poller)
            sessions = raw.sessions(entry, door, relay, poller, self.events, own, self._handshakes)
            self._sessions.append(sessions)
            return partial(self._spawn, sessions)

        return [handler(number, entry) for number, entry in enumerate(manifest.entries)]

    def _spawn(self, sessions: Sessions, captured: socket.socket) -> None:
        self.connections.add(sessions.serve(captured))

    def _give(self, number: int, made: Credentials) -> None:
        if 0 <= number < len(self._identities):
            self._identities[number].give(made)

    def _told(self, message: Message, descriptors: tuple[int, ...]) -> None:
        match message:
            case Listen(number) if not self.connections.draining:
                self._acceptor.start([(socket.socket(fileno=descriptors[0]), self._handlers[number])])
            case UseJudge():
                self._judge.use(socket.socket(fileno=descriptors[0]))
            case Pause():
                self._acceptor.stop()
                self.supervisor.send(Paused())
            case Ping():
                self.supervisor.send(Pong())
            case ConnectionsWanted(ticket):
                self._list(ticket)
            case Drain(milliseconds):
                self._drain(None if milliseconds is None else milliseconds / 1000)
            case _:
                close_all(descriptors)

    def _list(self, ticket: int) -> None:
        listed = json.dumps(self.events.listed(MOST_LISTED)).encode()
        self.supervisor.send(Connections(ticket, 0, len(self.events.open), listed))

    def _drain(self, seconds: float | None) -> None:
        self._acceptor.stop()
        for sessions in self._sessions:
            sessions.drain()
        self.connections.drain(seconds)


def _identity(judge: JudgeLine, number: int, entry: Entry) -> RemoteIdentity:
    each = entry.attest is not None and entry.attest.refresh_interval == 0
    return RemoteIdentity(judge, number, each=each, dated=entry.attest is not None)


def _supervisor_is_gone(_: str | None) -> None:
    os._exit(1)
