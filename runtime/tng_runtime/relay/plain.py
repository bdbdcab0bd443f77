"""The carrier without a tunnel, for what no filter of a proxy takes where the document says ``"unmatched": "direct"``.

Nobody is verified and nothing encrypted. Its sockets carry no mark: another entry that captures the destination
captures these connections as any other of this host.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import anyio

from tng_runtime.accept.lifecycle import Action, Event, Lifecycle
from tng_runtime.attest.token import Verdict
from tng_runtime.errors import LinkCode
from tng_runtime.kernel.dialling import Dialled, Dialler
from tng_runtime.kernel.liveness import end_in_order
from tng_runtime.kernel.names import Target
from tng_runtime.kernel.own import OwnConnections
from tng_runtime.kernel.readiness import Poller
from tng_runtime.relay.carrier import Stream
from tng_runtime.relay.duplex import FOR_EVER, BrokenError, Duplex
from tng_runtime.relay.link import Carried, Report

UNMARKED = 0


class Direct:
    """Connects to destinations; see ``carrier.Opens``."""

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        # Those that come back are captured by an entry on purpose, and none of them is a loop.
        self._dialler = Dialler(UNMARKED, poller, OwnConnections())

    async def open(self, destination: Target, source: str, is_at: Callable[[str], None]) -> Stream:  # noqa: ARG002
        """A stream to ``destination``; raises ``Refused`` (NET-DIAL, NET-LIMIT, NET-RESET)."""
        return _PlainStream(await self._dialler.dial(destination, LinkCode.NET_RESET, is_at), self._poller)


class _PlainStream:
    verdict: Verdict | None = None
    group: str | None = None
    cipher: str | None = "plaintext"

    def __init__(self, dialled: Dialled, poller: Poller) -> None:
        self._dialled, self._poller = dialled, poller
        self.to_tls = self.to_plain = 0

    def key_digest(self) -> bytes | None:
        return None

    async def relay(self, plain: socket.socket, life: Lifecycle, carried: Carried) -> Report:
        """Both directions, with half-close, as ``relay.link`` does it."""
        carried.begin(self)
        near, far = Duplex(plain, self._poller), Duplex(self._dialled.sock, self._poller)
        ended: list[Event] = []

        async def copy(source: Duplex, sink: Duplex, end: Event, broken: Event, *, out: bool) -> None:
            try:
                while data := await source.receive(source.deadline(FOR_EVER)):
                    await sink.send(data, sink.deadline(FOR_EVER))
                    self.to_tls += len(data) * out
                    self.to_plain += len(data) * (not out)
            except BrokenError:
                end = broken
            ended.append(end)
            if life.on(end) is Action.ABORT:
                both.cancel_scope.cancel()
            else:
                sink.finish()

        async with anyio.create_task_group() as both:
            both.start_soon(lambda: copy(near, far, Event.PLAIN_EOF, Event.PLAIN_BROKEN, out=True))
            both.start_soon(lambda: copy(far, near, Event.TLS_CLOSE_NOTIFY, Event.TLS_BROKEN, out=False))
        if ended[-1] in (Event.PLAIN_EOF, Event.TLS_CLOSE_NOTIFY):
            for side in (near, far):
                end_in_order(side.sock)
                side.close()
        near.close()
        self._dialled.close()
        return Report(ended[-1], self.to_tls, self.to_plain)

    def close(self) -> None:
        self._dialled.close()
