"""Payload between one attested stream and one plaintext socket, in as few Python calls as it takes.

Each direction is a loop: fill one large buffer, hand it on, until the kernel has no more to give or takes no more.
What it does not take is held, and nothing more is read in that direction until it did: that is the back-pressure.
What it took is counted, and nothing else.
Ends and failures are rare and go through the lifecycle's table. The buffers belong to the process, not to the
connection, because they are empty whenever control returns to the event loop.

``Relay.run`` is all that the rest of the program knows of this: two sockets and an ``SSL *`` go in, a report comes out.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import Protocol

from tng_runtime.accept.lifecycle import Action, Event, Lifecycle, State
from tng_runtime.kernel.liveness import LIVENESS, PERIOD, Liveness, Patience, end_in_order
from tng_runtime.kernel.readiness import BROKEN, LOOK, MORE, READABLE, WRITABLE, Poller
from tng_runtime.kernel.sockets import abort
from tng_runtime.tunnel import flood, openssl
from tng_runtime.tunnel.handshake import AttestedStream
from tng_runtime.tunnel.openssl import SSL_get_error, SSL_read, SSL_write

BUFFER = 512 << 10
_RECORD = 16 << 10
# After this many full buffers in one turn the other connections have theirs. Records may be a byte long: a buffer
# counts as full after so many of them.
_TURNS = 4
_RECORDS = 64
_AGAIN = READABLE | WRITABLE
# Connections whose readers are looked after in one turn of the loop.
_LOOKED_AT = 256


@dataclass(frozen=True, slots=True)
class Report:
    """How a relay ended: the event that closed it, and the payload bytes that the kernel took in each direction.

    ``reason`` is what OpenSSL says of a TLS side that broke: the name of the peer's alert above all.
    """

    ending: Event
    to_tls: int
    to_plain: int
    reason: str | None = None


class Counting(Protocol):
    """What carries payload: bytes to the other gateway, and bytes from it."""

    to_tls: int
    to_plain: int


class Carried:
    """The payload bytes that a relay has carried so far, to be looked at while it runs and after its end."""

    __slots__ = ("_link",)

    def __init__(self) -> None:
        self._link: Counting | None = None

    def count(self) -> tuple[int, int]:
        """To TLS, and to plaintext."""
        return (0, 0) if self._link is None else (self._link.to_tls, self._link.to_plain)

    def begin(self, link: Counting) -> None:
        """It runs."""
        self._link = link


class Relay:
    """Relays any number of connections over one poller. ``liveness`` is what their sockets were made with."""

    def __init__(self, poller: Poller, liveness: Liveness = LIVENESS) -> None:
        self._poller = poller
        self._liveness = liveness
        self._looking: asyncio.TimerHandle | None = None
        self._plaintext = openssl.Memory(BUFFER)
        self._decrypted = openssl.Memory(BUFFER)
        self._links: set[_Link] = set()

    async def run(
        self, stream: AttestedStream, plain: socket.socket, life: Lifecycle, carried: Carried | None = None
    ) -> Report:
        """Relay until both directions have ended or one broke; both sockets are closed then. ``carried`` follows it.

        The poller watches the stream's socket already. Cancellation aborts both sides.
        """
        link = _Link(self._poller, stream, plain, life, self._plaintext, self._decrypted)
        self._links.add(link)
        self._look_soon()
        if carried is not None:
            carried.begin(link)
        try:
            link.start()
            return await link.done
        finally:
            self._links.discard(link)
            if not link.done.done() or link.done.cancelled():
                link.abort(Event.DRAIN_OVER)

    def _look_soon(self) -> None:
        if self._looking is None and self._links:
            loop, pause = asyncio.get_running_loop(), self._liveness.unanswered * PERIOD
            self._looking = loop.call_later(pause, self._look, [])

    def _look(self, rest: list[_Link]) -> None:
        """Be patient with slow readers: a part of all connections now, the others in the loop's next rounds."""
        links = rest or list(self._links)
        for link in links[:_LOOKED_AT]:
            link.look_after(self._liveness)
        if left := links[_LOOKED_AT:]:
            asyncio.get_running_loop().call_soon(self._look, left)
        else:
            self._looking = None
            self._look_soon()


class _Link:
    __slots__ = (
        "_connection",
        "_decrypted",
        "_finishing",
        "_guard",
        "_held_plain",
        "_held_tls",
        "_life",
        "_patience",
        "_plain",
        "_plain_fd",
        "_plaintext",
        "_poller",
        "_read_wants_write",
        "_reading_plain",
        "_reading_tls",
        "_reason",
        "_ssl",
        "_tls",
        "_tls_fd",
        "done",
        "to_plain",
        "to_tls",
    )

    def __init__(
        self,
        poller: Poller,
        stream: AttestedStream,
        plain: socket.socket,
        life: Lifecycle,
        plaintext: openssl.Memory,
        decrypted: openssl.Memory,
    ) -> None:
        self._poller = poller
        # Owns the SSL structure, so it is kept until the link is closed.
        self._connection = stream.connection
        self._ssl = openssl.handle(stream.connection)
        self._tls, self._tls_fd = stream.sock, stream.sock.fileno()
        self._plain, self._plain_fd = plain, plain.fileno()
        self._guard = flood.watch(self._ssl)
        self._life = life
        self._patience: tuple[Patience, ...] = ()
        self._plaintext = plaintext
        self._decrypted = decrypted
        self._held_tls: bytes | None = None
        self._held_plain: memoryview | None = None
        self._reading_plain = self._reading_tls = True
        self._read_wants_write = False
        self._finishing = False
        self._reason: str | None = None
        self.to_tls = self.to_plain = 0
        self.done: asyncio.Future[Report] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Take both sockets over, and relay what they hold already."""
        self._poller.hand_over(self._tls_fd, self._on_tls)
        came = self._poller.hand_over(self._plain_fd, self._on_plain)
        # The handshake reads its own records, and leaves what follows them.
        self._on_tls(LOOK)
        if came and self._plain.fileno() >= 0:
            self._on_plain(came)

    def abort(self, event: Event) -> None:
        """End both sides with a reset."""
        if self._life.state is not State.CLOSED:
            self._end(event)
        else:  # only a close_notify is still waiting for room
            self._break_off(event)

    def look_after(self, liveness: Liveness) -> None:
        """Spare a reader that lives the end of one that is gone."""
        if not self._patience:
            self._patience = (Patience(self._tls, liveness), Patience(self._plain, liveness))
        for patience in self._patience:
            patience.look()

    def _on_plain(self, events: int) -> None:
        if events & WRITABLE and self._held_plain is not None:
            self._decrypt()
        if events & READABLE and self._reading_plain and self._held_tls is None:
            self._encrypt(events)
        elif events & BROKEN and not self._reading_plain and self._life.state is not State.CLOSED:
            # Once both of its directions are closed, a hang-up is the kernel's word for just that.
            self.abort(Event.PLAIN_BROKEN)

    def _on_tls(self, events: int) -> None:
        if events & WRITABLE:
            if self._held_tls is not None:
                self._encrypt(_AGAIN)
            elif self._finishing:
                self._finish()
            if self._read_wants_write:
                self._decrypt()
        if events & READABLE and self._reading_tls and self._held_plain is None:
            self._decrypt()
        elif events & BROKEN and not self._reading_tls:
            self.abort(Event.TLS_BROKEN)

    def _encrypt(self, events: int) -> None:
        """Plaintext to TLS."""
        if self._held_tls is not None:
            held, self._held_tls = self._held_tls, None
            if not self._write(openssl.pointer(held), len(held)):
                return
        receive, memory = self._plain.recv_into, self._plaintext
        view, pointer, size = memory.view, memory.pointer, memory.size
        for _ in range(_TURNS):
            try:
                count = receive(view)
            except BlockingIOError:
                return
            except OSError:
                self._end(Event.PLAIN_BROKEN)
                return
            if not count:
                self._reading_plain = False
                self._end(Event.PLAIN_EOF)
                return
            written = max(SSL_write(self._ssl, pointer, count), 0)
            self.to_tls += written
            if written < count and not self._write(pointer + written, count - written):
                return
            # A read that was not filled has emptied the socket (epoll(7)), unless it stopped at an urgent byte; an end
            # announced with it is yet to be read.
            if count < size and not events & MORE:
                return
        self._poller.later(self._on_plain, LOOK)

    def _write(self, pointer: object, count: int) -> bool:
        """Write all of it, or hold what TLS does not take now and return False."""
        offset = 0
        while offset < count:
            written = SSL_write(self._ssl, pointer + offset, count - offset)  # type: ignore[operator]
            if written <= 0:
                error = SSL_get_error(self._ssl, written)
                if error in (openssl.SSL_ERROR_WANT_WRITE, openssl.SSL_ERROR_WANT_READ):
                    self._held_tls = openssl.copy(pointer, offset, count)
                else:
                    self._end(Event.TLS_BROKEN)
                return False
            offset += written
            self.to_tls += written
        return True

    def _decrypt(self) -> None:
        """TLS to plaintext."""
        if not self._flush_plain():
            return
        ssl, memory = self._ssl, self._decrypted
        pointer, size = memory.pointer, memory.size
        for _ in range(_TURNS):
            got = count = SSL_read(ssl, pointer, size)
            records = 1
            while count > 0 and got <= size - _RECORD and records < _RECORDS:
                count = SSL_read(ssl, pointer + got, size - got)
                got += max(count, 0)
                records += 1
            if got > 0 and not self._send(memory.view[:got]):
                # An error is met again by the next read. Until then it must not stay in the queue, which is the
                # thread's: before OpenSSL 4.0 SSL_get_error(3) finds it there for every other connection.
                openssl.clear_errors()
                return
            if count <= 0:
                self._not_read(count)
                return
        self._poller.later(self._on_tls, LOOK)

    def _not_read(self, result: int) -> None:
        error = SSL_get_error(self._ssl, result)
        if error == openssl.SSL_ERROR_WANT_READ:
            self._read_wants_write = False
        elif error == openssl.SSL_ERROR_WANT_WRITE:
            self._read_wants_write = True
        elif error == openssl.SSL_ERROR_ZERO_RETURN:
            self._reading_tls = False
            self._end(Event.TLS_FLOODED if self._guard.tripped else Event.TLS_CLOSE_NOTIFY)
        else:
            self._end(Event.TLS_BROKEN)

    def _send(self, data: memoryview) -> bool:
        """Send all of it, or hold what the socket does not take now and return False."""
        try:
            sent = self._plain.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._end(Event.PLAIN_BROKEN)
            return False
        self.to_plain += sent
        if sent < len(data):
            self._held_plain = memoryview(bytes(data[sent:]))
            return False
        return True

    def _flush_plain(self) -> bool:
        held = self._held_plain
        if held is None:
            return True
        try:
            sent = self._plain.send(held)
        except BlockingIOError:
            return False
        except OSError:
            self._end(Event.PLAIN_BROKEN)
            return False
        self.to_plain += sent
        self._held_plain = held[sent:] if sent < len(held) else None
        return self._held_plain is None

    def _end(self, event: Event) -> None:
        match self._life.on(event):
            case Action.SEND_CLOSE_NOTIFY:
                self._finish()
            case Action.SEND_FIN:
                self._send_fin()
            case Action.CLOSE:
                if event is Event.PLAIN_EOF:
                    self._finish()
                else:
                    self._send_fin()
                if not self._finishing:
                    self._close(event)
            case Action.ABORT:
                self._reason = openssl.take_reason() if event is Event.TLS_BROKEN else None
                openssl.clear_errors()
                self._break_off(event)

    def _finish(self) -> None:
        """Send close_notify, or wait until there is room for it."""
        result = openssl.SSL_shutdown(self._ssl)
        self._finishing = result < 0 and SSL_get_error(self._ssl, result) == openssl.SSL_ERROR_WANT_WRITE
        openssl.clear_errors()
        if not self._finishing and self._life.state is State.CLOSED:
            self._close(Event.PLAIN_EOF)

    def _send_fin(self) -> None:
        # The application may have reset its socket meanwhile; its next event says so.
        with contextlib.suppress(OSError):
            self._plain.shutdown(socket.SHUT_WR)

    def _close(self, event: Event) -> None:
        if self._plain.fileno() < 0:
            return
        self._forget()
        for sock in (self._plain, self._tls):
            end_in_order(sock)
            sock.close()
        self._report(event)

    def _break_off(self, event: Event) -> None:
        if self._plain.fileno() < 0:
            return
        self._forget()
        abort(self._plain)
        abort(self._tls)
        self._report(event)

    def _forget(self) -> None:
        flood.unwatch(self._ssl)
        self._poller.forget(self._tls_fd)
        self._poller.forget(self._plain_fd)
        self._held_tls = self._held_plain = None
        self._reading_plain = self._reading_tls = self._finishing = self._read_wants_write = False

    def _report(self, event: Event) -> None:
        if not self.done.done():
            self.done.set_result(Report(event, self.to_tls, self.to_plain, self._reason))
