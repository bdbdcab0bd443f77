"""The one door: nothing else makes an ``AttestedStream``, and the relay takes nothing else.

``Door.handshake`` ends with a TLS connection to somebody, ``Door.verify`` with a verdict about who that is. Between the
two no application byte is read from anywhere, so none can be sent; on an egress the backend is dialled after both.
Without ``verify`` in the entry (``no_ra``, or a side that only attests) there is no verdict to wait for, and the stream
says so.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

from OpenSSL import SSL, crypto

from tng_runtime.attest.token import Verdict
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.readiness import Poller
from tng_runtime.tunnel.contexts import ALPN, AlpnMissingError, Contexts, Side
from tng_runtime.tunnel.identity import Identity
from tng_runtime.tunnel.verifier import Verifier

HANDSHAKE_SECONDS = 10.0

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


@dataclass(frozen=True, slots=True)
class Handshaken:
    """A TLS connection to a peer of whom nothing is known yet but that it holds the key of its certificate."""

    sock: socket.socket
    connection: SSL.Connection


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
        identity: Identity,
        verifier: Verifier | None,
        poller: Poller,
        *,
        deadline: float = HANDSHAKE_SECONDS,
    ) -> None:
        self._side = side
        self._deadline = deadline
        self._identity = identity
        self._verifier = verifier
        self._poller = poller
        self._contexts = Contexts(side, ask_certificate=verifier is not None)

    async def handshake(self, sock: socket.socket) -> Handshaken:
        """TLS over ``sock``, which the poller watches already; raises ``Refused`` (TLS-..., RA-SELF-EXPIRED)."""
        context = self._contexts.for_credentials(await self._identity.for_handshake())
        connection = SSL.Connection(context, sock)
        if self._side == "client":
            connection.set_connect_state()
        else:
            connection.set_accept_state()
        try:
            await self._shake(connection, sock.fileno(), self._poller.time() + self._deadline)
        except TimeoutError:
            raise Refused(LinkCode.TLS_DEADLINE, f"no handshake within {self._deadline:g} s") from None
        if connection.get_alpn_proto_negotiated() != ALPN:
            raise Refused(LinkCode.TLS_ALPN, "the peer did not agree on rats-tls")
        return Handshaken(sock, connection)

    async def verify(self, shaken: Handshaken) -> AttestedStream:
        """The stream, once the entry's demands on the peer are met; raises ``Refused`` (RA-...)."""
        verdict = None
        if self._verifier is not None:
            chain = self._chain(shaken.connection)
            verdict = self._verifier.cached(chain) or await self._verifier.verify(chain)
        return AttestedStream(
            shaken.sock,
            shaken.connection,
            verdict,
            shaken.connection.get_group_name(),
            shaken.connection.get_cipher_name(),
        )

    async def _shake(self, connection: SSL.Connection, descriptor: int, deadline: float) -> None:
        while True:
            try:
                connection.do_handshake()
            except (SSL.WantReadError, SSL.WantWriteError):
                await self._poller.wait(descriptor, deadline)
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
                return

    def _chain(self, connection: SSL.Connection) -> tuple[bytes, ...]:
        # SSL_get_peer_cert_chain(3): on a server the chain lacks the peer's own certificate.
        rest = connection.get_peer_cert_chain() or []
        leaf = connection.get_peer_certificate()
        certificates = rest if self._side == "client" or leaf is None else [leaf, *rest]
        return tuple(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate) for certificate in certificates)


def _refusal(error: SSL.Error) -> Refused:
    reasons = [entry[2] for entry in error.args[0]] if error.args and isinstance(error.args[0], list) else []
    for reason in reasons:
        if reason in _REASONS:
            return Refused(*_REASONS[reason])
    return Refused(LinkCode.TLS_HANDSHAKE, f"the handshake failed: {', '.join(reasons) or 'no reason given'}")
