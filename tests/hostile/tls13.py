"""TLS 1.3 by hand, on blocking sockets, for peers that no library would let one be.

Only what a test needs: X25519, TLS_AES_128_GCM_SHA256, certificates given as bytes and signed for with any key. Every
step of the handshake is a method, so that a hostile peer can leave one out, repeat it or put something in between.
Sections are those of RFC 8446.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from runtime.attest.makers import PrivateKey

ALPN = b"rats-tls"
CHANGE_CIPHER, ALERT, HANDSHAKE, APPLICATION = 20, 21, 22, 23
CLIENT_HELLO, SERVER_HELLO, TICKET, ENCRYPTED, CERTIFICATE, REQUEST, VERIFY, FINISHED, KEY_UPDATE = (
    1,
    2,
    4,
    8,
    11,
    13,
    15,
    20,
    24,
)
X25519 = 0x001D
AES_128_GCM_SHA256 = 0x1301
_RETRY = hashlib.sha256(b"HelloRetryRequest").digest()  # 4.1.3
_MAX_RECORD = 1 << 14


class Ended(Exception):
    """The other side ended the connection, with an alert (its description, 6) or without."""

    def __init__(self, alert: int | None) -> None:
        super().__init__(alert)
        self.alert = alert


@dataclass(frozen=True, slots=True)
class Shown:
    """Certificates (DER, sent as they are) and the key that signs for them, whether it is theirs or not."""

    chain: Sequence[bytes]
    key: PrivateKey


class _Keys:
    """One direction's protection (5.2, 5.3)."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self._aead = AESGCM(expand(secret, b"key", b"", 16))
        self._iv = int.from_bytes(expand(secret, b"iv", b"", 12))
        self._count = 0

    def seal(self, kind: int, data: bytes) -> bytes:
        head = struct.pack("!BHH", APPLICATION, 0x0303, len(data) + 17)
        return head + self._aead.encrypt(self._nonce(), data + bytes([kind]), head)

    def open(self, head: bytes, data: bytes) -> tuple[int, bytes]:
        inner = self._aead.decrypt(self._nonce(), data, head).rstrip(b"\0")
        return inner[-1], inner[:-1]

    def next(self) -> _Keys:
        return _Keys(expand(self.secret, b"traffic upd", b"", 32))

    def _nonce(self) -> bytes:
        self._count += 1
        return (self._iv ^ (self._count - 1)).to_bytes(12)


class Tls:
    """One end of a connection over ``sock``; see ``client`` and ``server`` for whole handshakes.

    A server's ``offered`` are the extensions of the first ClientHello.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.transcript = b""
        self.keys_in: _Keys | None = None
        self.keys_out: _Keys | None = None
        self.offered: dict[int, bytes] = {}
        self._received = b""
        self._messages = b""
        self._own = X25519PrivateKey.generate()
        self._handshake_secret = self._client_secret = self._server_secret = b""

    @property
    def share(self) -> bytes:
        """Our public key."""
        return self._own.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    # --- records ---

    def send(self, kind: int, data: bytes) -> None:
        """Send ``data`` in as many records as it takes, at least one."""
        for start in range(0, max(len(data), 1), _MAX_RECORD):
            part = data[start : start + _MAX_RECORD]
            if self.keys_out is None:
                self.sock.sendall(struct.pack("!BHH", kind, 0x0303, len(part)) + part)
            else:
                self.sock.sendall(self.keys_out.seal(kind, part))

    def record(self) -> tuple[int, bytes]:
        """The next record; raises ``Ended``."""
        head = self._exactly(5)
        data = self._exactly(int.from_bytes(head[3:]))
        kind = head[0]
        if self.keys_in is not None and kind == APPLICATION:
            kind, data = self.keys_in.open(head, data)
        if kind == ALERT:
            raise Ended(data[1])
        return kind, data

    def application(self) -> bytes:
        """The next application data; raises ``Ended``."""
        while True:
            kind, data = self.record()
            if kind == APPLICATION and data:
                return data

    def message(self, wanted: int) -> bytes:
        """The body of the next handshake message, which must be of the kind wanted; raises ``Ended``."""
        while len(self._messages) < 4 or len(self._messages) < 4 + int.from_bytes(self._messages[1:4]):
            kind, data = self.record()
            if kind == HANDSHAKE:
                self._messages += data
        size = 4 + int.from_bytes(self._messages[1:4])
        whole, self._messages = self._messages[:size], self._messages[size:]
        assert whole[0] == wanted, f"message {whole[0]} instead of {wanted}"
        self.transcript += whole
        return whole[4:]

    def say(self, kind: int, body: bytes) -> None:
        """Send a handshake message."""
        whole = bytes([kind]) + len(body).to_bytes(3) + body
        self.transcript += whole
        self.send(HANDSHAKE, whole)

    def update_key(self) -> None:
        """KeyUpdate (4.6.3), without asking for one in return."""
        assert self.keys_out is not None
        self.send(HANDSHAKE, bytes([KEY_UPDATE, 0, 0, 1, 0]))
        self.keys_out = self.keys_out.next()

    def close(self) -> None:
        """close_notify (6.1)."""
        self.send(ALERT, b"\x01\x00")

    # --- the parts of a handshake ---

    def agree(self, other: bytes) -> None:
        """Derive the handshake's secrets (7.1) after both hellos."""
        shared = self._own.exchange(X25519PublicKey.from_public_bytes(other))
        early = hmac.digest(bytes(32), bytes(32), "sha256")
        secret = hmac.digest(expand(early, b"derived", hashlib.sha256().digest(), 32), shared, "sha256")
        self._handshake_secret = secret
        self._client_secret = expand(secret, b"c hs traffic", self.digest(), 32)
        self._server_secret = expand(secret, b"s hs traffic", self.digest(), 32)

    def application_keys(self) -> tuple[_Keys, _Keys]:
        """Client's and server's, once the server's Finished is in the transcript."""
        derived = expand(self._handshake_secret, b"derived", hashlib.sha256().digest(), 32)
        master = hmac.digest(derived, bytes(32), "sha256")
        return _Keys(expand(master, b"c ap traffic", self.digest(), 32)), _Keys(
            expand(master, b"s ap traffic", self.digest(), 32)
        )

    def handshake_keys(self) -> tuple[_Keys, _Keys]:
        """Client's and server's."""
        return _Keys(self._client_secret), _Keys(self._server_secret)

    def show(self, shown: Shown | None, side: bytes, context: bytes = b"") -> None:
        """Certificate and CertificateVerify (4.4.2, 4.4.3); with None an empty Certificate."""
        entries = b"".join(vector(3, der) + vector(2, b"") for der in (shown.chain if shown else ()))
        self.say(CERTIFICATE, vector(1, context) + vector(3, entries))
        if shown is not None and shown.chain:
            signed = b" " * 64 + b"TLS 1.3, " + side + b" CertificateVerify\0" + self.digest()
            scheme, signature = _sign(shown.key, signed)
            self.say(VERIFY, struct.pack("!H", scheme) + vector(2, signature))

    def finish(self, secret: bytes) -> None:
        """Finished (4.4.4)."""
        self.say(FINISHED, hmac.digest(expand(secret, b"finished", b"", 32), self.digest(), "sha256"))

    def digest(self) -> bytes:
        """The hash of the transcript."""
        return hashlib.sha256(self.transcript).digest()

    def finish_as(self, side: bytes) -> None:
        """Finished of that side, under the handshake's secret."""
        self.finish(self._server_secret if side == b"server" else self._client_secret)

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionError:
                raise Ended(None) from None
            if not data:
                raise Ended(None)
            self._received += data
        data, self._received = self._received[:count], self._received[count:]
        return data


def client_hello(
    share: bytes, *, alpn: Sequence[bytes] = (ALPN,), versions: Sequence[int] = (0x0304,), extra: bytes = b""
) -> bytes:
    """The body of a ClientHello (4.1.2); ``extra`` is appended to the extensions."""
    extensions = b""
    if versions:
        extensions += extension(43, vector(1, struct.pack(f"!{len(versions)}H", *versions)))
    extensions += extension(10, vector(2, struct.pack("!H", X25519)))
    extensions += extension(13, vector(2, struct.pack("!5H", 0x0403, 0x0503, 0x0603, 0x0804, 0x0401)))
    extensions += extension(51, vector(2, struct.pack("!H", X25519) + vector(2, share)))
    if alpn:
        extensions += extension(16, vector(2, b"".join(vector(1, name) for name in alpn)))
    suites = struct.pack("!3H", AES_128_GCM_SHA256, 0xC02B, 0xC02F)
    return (
        b"\x03\x03" + os.urandom(32) + vector(1, b"") + vector(2, suites) + b"\x01\x00" + vector(2, extensions + extra)
    )


def client(
    sock: socket.socket,
    shown: Shown | None,
    *,
    alpn: Sequence[bytes] = (ALPN,),
    versions: Sequence[int] = (0x0304,),
    extra: bytes = b"",
    early: bytes = b"",
) -> Tls:
    """A client's whole handshake, without looking at who the server is; raises ``Ended``.

    ``early`` is sent as it is between the hello and the answer to it.
    """
    tls = Tls(sock)
    tls.say(CLIENT_HELLO, client_hello(tls.share, alpn=alpn, versions=versions, extra=extra))
    if early:
        sock.sendall(early)
    _, extensions = read_hello(tls.message(SERVER_HELLO), 0)
    assert 41 not in extensions, "the server resumed a session"
    tls.agree(extensions[51][4:])
    own, theirs = tls.handshake_keys()
    tls.keys_out, tls.keys_in = own, theirs
    encrypted = tls.message(ENCRYPTED)
    assert 42 not in dict(_extensions(encrypted[2:])), "the server takes early data"
    requested = _peek_request(tls)
    tls.message(CERTIFICATE)
    tls.message(VERIFY)
    tls.message(FINISHED)
    application = tls.application_keys()
    if requested:
        tls.show(shown, b"client")
    tls.finish_as(b"client")
    tls.keys_out, tls.keys_in = application
    return tls


def server(sock: socket.socket, shown: Shown, *, alpn: bytes | None = ALPN, ask: bool = False, junk: int = 0) -> Tls:
    """A server's whole handshake, without looking at who the client is; raises ``Ended``.

    ``junk`` is a number of meaningless bytes to send once the keys are agreed on.
    """
    tls = Tls(sock)
    hello, session = _server_hellos(tls)
    tls.say(SERVER_HELLO, hello)
    tls.agree(session)
    theirs, own = tls.handshake_keys()
    tls.keys_out, tls.keys_in = own, theirs
    agreed = b"" if alpn is None else extension(16, vector(2, vector(1, alpn)))
    if junk:
        sock.sendall(b"\x17\x03\x03\x40\x00" + bytes(junk))
    tls.say(ENCRYPTED, vector(2, agreed))
    if ask:
        tls.say(REQUEST, vector(1, b"") + vector(2, extension(13, vector(2, struct.pack("!H", 0x0403)))))
    tls.show(shown, b"server")
    tls.finish_as(b"server")
    application = tls.application_keys()
    if ask and len(tls.message(CERTIFICATE)) > 4:
        tls.message(VERIFY)
    tls.message(FINISHED)
    tls.keys_in, tls.keys_out = application
    return tls


def read_hello(body: bytes, lists: int) -> tuple[bytes, dict[int, bytes]]:
    """Session id and extensions of a hello; ``lists`` is 1 for a client's, which has lists where a server has one."""
    size = body[34]
    session, rest = body[35 : 35 + size], body[35 + size :]
    rest = rest[2 + int.from_bytes(rest[:2]) + 2 :] if lists else rest[3:]
    return session, dict(_extensions(rest[2:]))


def vector(width: int, data: bytes) -> bytes:
    """``data`` behind its length."""
    return len(data).to_bytes(width) + data


def extension(number: int, data: bytes) -> bytes:
    """An extension (4.2)."""
    return struct.pack("!H", number) + vector(2, data)


def expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (7.1) for at most 32 bytes."""
    info = struct.pack("!H", size) + vector(1, b"tls13 " + label) + vector(1, context)
    return hmac.digest(secret, info + b"\x01", "sha256")[:size]


def _server_hellos(tls: Tls) -> tuple[bytes, bytes]:
    session, extensions = read_hello(tls.message(CLIENT_HELLO), 1)
    tls.offered = extensions
    version = extension(43, b"\x03\x04")

    def hello(random: bytes, share: bytes) -> bytes:
        fixed = b"\x03\x03" + random + vector(1, session) + struct.pack("!HB", AES_128_GCM_SHA256, 0)
        return fixed + vector(2, version + extension(51, share))

    if (theirs := _share(extensions)) is None:
        # 4.4.1: the first hello counts by its hash.
        tls.transcript = b"\xfe\x00\x00\x20" + tls.digest()
        tls.say(SERVER_HELLO, hello(_RETRY, struct.pack("!H", X25519)))
        theirs = _share(read_hello(tls.message(CLIENT_HELLO), 1)[1])
    assert theirs is not None, "the client does not offer X25519"
    return hello(os.urandom(32), struct.pack("!H", X25519) + vector(2, tls.share)), theirs


def _share(extensions: dict[int, bytes]) -> bytes | None:
    data = extensions[51][2:]
    while data:
        group, size = struct.unpack_from("!HH", data)
        if group == X25519:
            return data[4 : 4 + size]
        data = data[4 + size :]
    return None


def _extensions(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        number, size = struct.unpack_from("!HH", data)
        found.append((number, data[4 : 4 + size]))
        data = data[4 + size :]
    return found


def _peek_request(tls: Tls) -> bool:
    while len(tls._messages) < 4:
        tls._messages += tls.record()[1]
    if tls._messages[0] != REQUEST:
        return False
    tls.message(REQUEST)
    return True


def _sign(key: PrivateKey, data: bytes) -> tuple[int, bytes]:
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        return 0x0804, key.sign(data, pss, hashes.SHA256())
    if key.curve.name == "secp384r1":
        return 0x0503, key.sign(data, ec.ECDSA(hashes.SHA384()))
    return 0x0403, key.sign(data, ec.ECDSA(hashes.SHA256()))
