"""TLS settings of RATS-TLS, and the OpenSSL contexts made from them.

TLS 1.3 and nothing else, ALPN ``rats-tls``. Certificates are self-signed and no chain is built: the attestation is the
check (``tunnel/handshake``), for which a client's handshake pauses. TLS proves that the peer holds the certificate's
key (CertificateVerify, RFC 8446 section 4.4.3), which no setting here can switch off. Sessions are never resumed and no
early data is sent or taken: a resumed session would carry an old verdict past its end. X25519MLKEM768, the post-quantum
hybrid, is agreed on whenever the peer has it.
"""

from __future__ import annotations

from typing import Literal

from cryptography import x509
from OpenSSL import SSL

from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.credentials import Credentials

Side = Literal["client", "server"]

ALPN = b"rats-tls"
# A client sends a key share of the first only: a second one costs every handshake and helps only with a peer that lacks
# the hybrid, which asks for its own choice in one more round trip (RFC 8446 section 4.1.4).
GROUPS = b"*X25519MLKEM768:X25519:secp256r1:secp384r1"
# What TLS 1.3 makes mandatory is offered first (RFC 8446 section 9.1), as Go and BoringSSL do where the processor has
# AES: it has SHA-256 then, too, and SHA-384 takes a tenth of a handshake. A server takes what its client puts first.
SUITES = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
# Of the whole Certificate message: the 1 MiB that attest/certificate allows, and its framing.
MAX_CERTIFICATE_MESSAGE = (1 << 20) + 1024


class AlpnMissingError(Exception):
    """The client offers protocols, but not ours; raised inside OpenSSL's callback, it becomes a fatal alert."""


class Contexts:
    """The context for one side of one entry, remade when the certificate changes."""

    def __init__(self, side: Side, *, verifies: bool) -> None:
        self._side = side
        self._verifies = verifies
        self._made: tuple[Credentials | None, SSL.Context] | None = None

    def for_credentials(self, credentials: Credentials | None) -> SSL.Context:
        """A context that shows ``credentials``; with None each connection is given its own, or none is shown."""
        if self._made is None or self._made[0] is not credentials:
            self._made = (credentials, _make(self._side, credentials, verifies=self._verifies))
        return self._made[1]


def _make(side: Side, credentials: Credentials | None, *, verifies: bool) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    if credentials is not None:
        context.use_certificate(x509.load_der_x509_certificate(credentials.certificate_der))
        context.use_privatekey(credentials.private_key)
        context.check_privatekey()
    openssl.harden(context, GROUPS, SUITES, MAX_CERTIFICATE_MESSAGE)
    if verifies:
        # A client gets the server's certificate in any case, a server asks for one.
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    if side == "client" and verifies:
        openssl.pause_for_verdict(context)
    else:
        openssl.take_any_chain(context)
    if side == "client":
        context.set_alpn_protos([ALPN])
    else:
        context.set_alpn_select_callback(_select)
    return context


def _select(_: SSL.Connection, offered: list[bytes]) -> bytes:
    if ALPN not in offered:
        raise AlpnMissingError
    return ALPN
