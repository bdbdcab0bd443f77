"""The one door: nothing else makes an ``AttestedStream``, and the relay takes nothing else.

``Door.handshake`` ends with a TLS connection to somebody, ``Door.verify`` with a verdict about who that is. Between the
two no application byte is read from anywhere, so none can be sent; on an egress the backend is dialled after both.
A client asks for the verdict in the midst of the handshake, so that a refusal is an alert, of which the peer's log can
tell; an OpenSSL server can do so only after it.
One deadline spans all of it. A certificate that is made for one handshake is made when the peer's hello has been agreed
to, so who connects and says nothing costs no evidence. Without ``verify`` in the entry (``no_ra``, or a side that only
attests) there is no verdict to wait for, and the stream says so.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import anyio
from cryptography import x509
from OpenSSL import SSL

from tng_runtime.attest.codes import Code
from tng_runtime.attest.token import Verdict
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel import path
from tng_runtime.kernel.readiness import READABLE, WRITABLE, Poller
from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.contexts import ALPN, AlpnMissingError, Contexts, Side
from tng_runtime.tunnel.credentials import Credentials

# What the peer may take for its part of the handshake, and what may pass until the verdict, everything included.
HANDSHAKE_SECONDS = 10.0
VERDICT_SECONDS = 30.0
# Of silence, before the path is looked at; a segment is sent a second time after a fifth of it or so (RFC 6298).
LOOK_SECONDS = 1.0

# OpenSSL's reasons (openssl/sslerr.h) that an operator acts on, and the stable code of each.
_REASONS = {
    "excessive message size": (LinkCode.TLS_CERT_SIZE, "the peer's certificate message is larger than 1 MiB"),
    "http request": (LinkCode.TLS_PLAINTEXT, "the peer sends plaintext HTTP where TLS is due"),
    "packet length too long": (LinkCode.TLS_PLAINTEXT, "the peer does not speak TLS"),
    "peer did not return a certificate": (LinkCode.TLS_NO_CERTIFICATE, "the client shows no certificate"),
    "no application protocol": (LinkCode.TLS_ALPN, "the client does not offer rats-tls"),
    "tlsv1 alert no application protocol": (LinkCode.TLS_ALPN, "the server does not take rats-tls"),
    "unsupported protocol": (LinkCode.TLS_VERSION, "the peer does not offer TLS 1.3"),
    "tlsv1 alert protocol version": (LinkCode.TLS_VERSION, "the peer does not take TLS 1.3"),
    "tlsv13 alert certificate required": (LinkCode.TLS_NO_CERTIFICATE, "the peer wants a certificate that it takes"),
    "wrong version number": (LinkCode.TLS_PLAINTEXT, "the peer does not speak TLS"),
}

_ALERT = re.compile(r"\balert (.+)")
# Codes that say nothing about the peer.
_OUR_TROUBLE = ("RA-SERVICE-", "RA-SELF-")


class Shows(Protocol):
    """Who we are to a peer: ``tunnel.identity.Identity``, or a worker's copy of one."""

    @property
    def made_anew(self) -> bool:
        """Whether every handshake gets a certificate of its own, which takes time to make."""
        ...

    def current(self) -> Credentials:
        """The certificate to show now; raises ``Refused``."""
        ...

    async def for_handshake(self, source: str) -> Credentials:
        """One for a handshake of ``source``; raises ``Refused``."""
        ...


class Believes(Protocol):
    """Whether a peer's certificate is believed: ``tunnel.verifier.Verifier``, or a worker's way to one."""

    def cached(self, chain: Sequence[bytes]) -> Verdict | None:
        """The verdict that is known already."""
        ...

    async def verify(self, chain: Sequence[bytes], source: str) -> Verdict:
        """The verdict, for which ``source`` may have to wait for its turn; raises ``Refused``."""
        ...


@dataclass(frozen=True, slots=True)
class Handshaken:
    """A TLS connection to a peer of whom nothing is known yet but that it holds the key of its certificate.

    ``source`` is whose turn is used for it, ``end`` the time (the poller's) until which there must be a verdict;
    ``verdict`` is there if it was asked for just now.
    """

    sock: socket.socket
    connection: SSL.Connection
    source: str
    end: float
    verdict: Verdict | None


@dataclass(frozen=True, slots=True)
class AttestedStream:
    """A TLS connection whose peer passed what the entry demands; ``verdict`` None: the entry demands nothing."""

    sock: socket.socket
    connection: SSL.Connection
    verdict: Verdict | None
    group: str | None
    cipher: str | None


class Door:
    """The handshake, which may take ``deadline`` seconds, and the verification of one entry's connections."""

    def __init__(
        self,
        side: Side,
        identity: Shows,
        verifier: Believes | None,
        poller: Poller,
        *,
        deadline: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._side = side
        self._deadline = deadline
        self._identity = identity
        self._verifier = verifier
        self._poller = poller
        self._contexts = Contexts(side, verifies=verifier is not None)

    async def handshake(self, sock: socket.socket, source: str, end: float) -> Handshaken:
        """TLS over ``sock``, which the poller watches already, for ``source`` before ``end``: see ``Handshaken``.

        Raises ``Refused`` (TLS-..., RA-SELF-EXPIRED, RA-AGENT-DEADLINE and what making a certificate raises); for a
        client also what ``verify`` raises, and ``path.TooNarrowError``: the connection can be made once more, of
        smaller segments.
        """
        anew = self._identity.made_anew
        context = self._contexts.for_credentials(None if anew else self._identity.current())
        connection = SSL.Connection(context, sock)
        if anew:
            openssl.pause_for_certificate(connection)
        if self._side == "client":
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        began = self._poller.time()
        try:
            verdict = await self._shake(connection, sock, source, end)
        except TimeoutError:
            seconds = round(self._poller.time() - began, 1)
            raise Refused(LinkCode.TLS_DEADLINE, f"no handshake within {seconds:g} s") from None
        if openssl.alpn(connection) != ALPN:
            raise Refused(LinkCode.TLS_ALPN, "the peer did not agree on rats-tls")
        return Handshaken(sock, connection, source, end, verdict)

    async def verify(self, shaken: Handshaken) -> AttestedStream:
        """The stream, once the entry's demands on the peer are met; raises ``Refused`` (RA-...)."""
        verdict = shaken.verdict
        if self._verifier is not None and verdict is None:
            verdict = await self._verdict(self._verifier, shaken.connection, shaken.source, shaken.end)
        return AttestedStream(
            shaken.sock,
            shaken.connection,
            verdict,
            shaken.connection.get_group_name(),
            shaken.connection.get_cipher_name(),
        )

    async def _verdict(self, verifier: Believes, connection: SSL.Connection, source: str, end: float) -> Verdict:
        chain = openssl.peer_chain(connection, server=self._side == "server")
        if (verdict := verifier.cached(chain)) is not None:
            return verdict
        try:
            with anyio.fail_after(max(0.0, end - self._poller.time())):
                return await verifier.verify(chain, source)
        except TimeoutError:
            raise Refused(Code.SERVICE_DEADLINE, f"no verdict {VERDICT_SECONDS:g} s after the connection") from None

    async def _shake(self, connection: SSL.Connection, sock: socket.socket, source: str, end: float) -> Verdict | None:
        deadline = min(self._poller.time() + self._deadline, end)
        verdict: Verdict | None = None
        if self._side == "server" and not self._poller.came(sock.fileno()) & READABLE:
            # The client has the first word.
            await self._hear(sock, deadline, READABLE)
        while True:
            try:
                wants = openssl.shake(connection)
                if wants == openssl.SSL_ERROR_WANT_RETRY_VERIFY:
                    assert self._verifier is not None, "a client without one does not pause"
                    began = self._poller.time()
                    verdict = await self._judge(self._verifier, connection, source, end)
                    deadline = min(deadline + self._poller.time() - began, end)
                    wants = openssl.judge(connection, None)
                if not wants:
                    return verdict
            except SSL.WantX509LookupError:
                began = self._poller.time()
                await self._make_certificate(connection, source, end)
                # The peer does not answer for the time that we took.
                deadline = min(deadline + self._poller.time() - began, end)
            except AlpnMissingError:
                raise Refused(LinkCode.TLS_ALPN, "the client does not offer rats-tls") from None
            except SSL.ZeroReturnError:
                raise Refused(LinkCode.TLS_BROKEN, "the peer closed in the middle of the handshake") from None
            except SSL.SysCallError as error:
                raise Refused(
                    LinkCode.TLS_BROKEN, f"the connection broke in the middle of the handshake: {error}"
                ) from None
            except SSL.Error as error:
                raise _refusal(error) from None
            else:
                if self._side == "server" and openssl.alpn(connection):
                    # It has our answer, and may have to ask its service about us before it goes on.
                    deadline = end
                await self._hear(sock, deadline, READABLE if wants == openssl.SSL_ERROR_WANT_READ else WRITABLE)
            # Who takes time after a verdict must not outlast it: ``verify`` asks for it once more.
            verdict = None

    async def _judge(self, verifier: Believes, connection: SSL.Connection, source: str, end: float) -> Verdict:
        """What ``verifier`` says of a server; it gets an alert if that is a refusal."""
        try:
            return await self._verdict(verifier, connection, source, end)
        except Refused as refused:
            ours = refused.code.startswith(_OUR_TROUBLE)
            with contextlib.suppress(SSL.Error):
                openssl.judge(connection, openssl.INTERNAL_ERROR if ours else openssl.BAD_CERTIFICATE)
            raise

    async def _hear(self, sock: socket.socket, deadline: float, wanted: int) -> None:
        """Wait for the peer's next word, or room for ours; if ours does not get through, ask the path for a reason."""
        while (look := self._poller.time() + LOOK_SECONDS) < deadline:
            try:
                await self._poller.wait(sock.fileno(), look, wanted)
            except TimeoutError:
                pass
            else:
                return
            if path.is_stuck(sock):
                if path.let_routers_cut(sock):
                    break
                if self._side == "client":
                    path.require_small(sock)
        await self._poller.wait(sock.fileno(), deadline, wanted)

    async def _make_certificate(self, connection: SSL.Connection, source: str, end: float) -> None:
        try:
            with anyio.fail_after(max(0.0, end - self._poller.time())):
                made = await self._identity.for_handshake(source)
        except TimeoutError:
            raise Refused(Code.AGENT_DEADLINE, "our own certificate was not made in time for the handshake") from None
        openssl.show(connection, x509.load_der_x509_certificate(made.certificate_der), made.private_key)


def _refusal(error: SSL.Error) -> Refused:
    reasons = [entry[2] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    for reason in reasons:
        if reason in _REASONS:
            return Refused(*_REASONS[reason])
        if alert := _ALERT.search(reason):
            return Refused(LinkCode.TLS_REFUSED, f"the peer refused this side: {alert[1]}")
    return Refused(LinkCode.TLS_HANDSHAKE, f"the handshake failed: {', '.join(reasons) or 'no reason given'}")
