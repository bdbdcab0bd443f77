"""The seam: a session takes what a carrier gives, and knows of no handshake."""

from __future__ import annotations

import ast
import inspect
import socket
from dataclasses import dataclass, field

import anyio
import pytest

from runtime.relay.peers import tcp_pair, wait_until
from tng_runtime.accept.lifecycle import Event, Lifecycle
from tng_runtime.attest.token import Verdict
from tng_runtime.counts import Counts
from tng_runtime.errors import LinkCode
from tng_runtime.events import Events
from tng_runtime.kernel.dialling import Dialler
from tng_runtime.kernel.own import OwnConnections
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import Destination
from tng_runtime.manifest import Entry
from tng_runtime.relay import carrier, reach, session
from tng_runtime.relay.carrier import Serve, Stream
from tng_runtime.relay.link import Carried, Report

ENTRY = Entry("/add_egress/0", "egress", 16001, 565, ("ipv4",), None, None)
HERE = Destination("ipv4", "127.0.0.1", 16001)


@dataclass
class Spoken:
    """A stream that carries one word, and notes what was done with it."""

    word: bytes
    verdict: Verdict | None = None
    group: str | None = None
    cipher: str | None = None
    closed: bool = False

    def key_digest(self) -> bytes | None:
        return None

    async def relay(self, plain: socket.socket, life: Lifecycle, carried: Carried) -> Report:
        del carried
        plain.sendall(self.word)
        plain.close()
        life.on(Event.PLAIN_BROKEN)
        return Report(Event.PLAIN_BROKEN, 0, len(self.word))

    def close(self) -> None:
        self.closed = True


@dataclass
class Many:
    """A carrier of several streams at a time over one captured connection."""

    streams: list[tuple[Stream, Destination]]
    source: str = field(default="", init=False)

    async def accept(self, captured: socket.socket, destination: Destination, source: str, serve: Serve) -> None:
        self.source = source
        async with anyio.create_task_group() as group:
            for stream, towards in self.streams:
                group.start_soon(serve, stream, towards)


@pytest.mark.netns
@pytest.mark.anyio
async def test_one_connection_may_carry_many_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """One has a backend and another has none: each is told of by itself, and ends by itself."""
    monkeypatch.setattr(reach, "original_destination", lambda _: HERE)
    poller, counts = Poller(), Counts()
    with socket.create_server(("127.0.0.1", 0)) as backend, socket.create_server(("127.0.0.1", 0)) as gone:
        there = Destination("ipv4", "127.0.0.1", backend.getsockname()[1])
        nowhere = Destination("ipv4", "127.0.0.1", gone.getsockname()[1])
        gone.close()
        words = [Spoken(b"one"), Spoken(b"lost"), Spoken(b"two")]
        many = Many([(words[0], there), (words[1], nowhere), (words[2], there)])
        own = OwnConnections()
        near, far = tcp_pair()
        with near, far:
            made = session.Egress(ENTRY, many, Dialler(ENTRY.so_mark, poller, own), poller, Events(counts), own)
            await made.serve(near)
            await wait_until(lambda: counts.relayed == 2)
            assert near.fileno() == -1, "the session closes what was captured"
        backend.settimeout(20)
        heard = set()
        for _ in range(2):
            with backend.accept()[0] as conn:
                heard.add(conn.recv(100))
    assert heard == {b"one", b"two"}
    assert counts.refused == {LinkCode.NET_DIAL: 1}
    assert all(word.closed for word in words)
    assert many.source == "127.0.0.1"
    assert not own._pairs
    poller.close()


@pytest.mark.parametrize("module", [session, carrier], ids=lambda module: module.__name__.rpartition(".")[2])
def test_sessions_know_no_handshake(module: object) -> None:
    tree = ast.parse(inspect.getsource(module))  # type: ignore[arg-type]
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {"tng_runtime.tunnel.handshake", "tng_runtime.tunnel.openssl", "OpenSSL"} & imported
