"""What a peer may send after the handshake without a byte of payload, and how much of it (hostile 11)."""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import AsyncIterator

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL

from runtime.relay.peers import Floor, Relayed, floor, threaded, unbound
from tng_runtime.accept.lifecycle import Event
from tng_runtime.tunnel import flood

pytestmark = pytest.mark.anyio

KEY_UPDATE_NOT_REQUESTED, KEY_UPDATE_REQUESTED = 0, 1
MANY = 100_000
HANDSHAKE, APPLICATION_DATA = b"\x16", b"\x17"
# NewSessionTicket (RFC 8446 section 4.6.1): lifetime, age_add, nonce, ticket, no extensions.
_TICKET = struct.pack(">IIBBH", 3600, 1, 1, 7, 16) + bytes(16) + b"\0\0"
TICKET = b"\x04" + len(_TICKET).to_bytes(3) + _TICKET


@pytest.fixture
async def ground() -> AsyncIterator[Floor]:
    async with floor() as made:
        yield made


def update_keys(peer: SSL.Connection, times: int, kind: int = KEY_UPDATE_NOT_REQUESTED) -> int:
    """Send ``times`` KeyUpdates; how many were sent before the connection was gone."""
    update = unbound("SSL_key_update", "int(*)(SSL *, int)")
    for sent in range(times):
        assert update(peer._ssl, kind) == 1
        try:
            peer.do_handshake()
        except (SSL.SysCallError, SSL.ZeroReturnError):
            return sent
    return times


def reset_of(app_side: Relayed) -> None:
    with pytest.raises(ConnectionResetError):
        app_side.app.recv(100)


@pytest.mark.parametrize("kind", [KEY_UPDATE_NOT_REQUESTED, KEY_UPDATE_REQUESTED])
async def test_11_keys_may_be_updated_now_and_then(ground: Floor, kind: int) -> None:
    one = await ground.connect()
    for number in range(4):
        assert await threaded(update_keys, one.peer, flood.BURST // 10, kind) == flood.BURST // 10
        await threaded(one.peer.sendall, b"%04d" % number)
        assert await threaded(one.app.recv, 100) == b"%04d" % number
        one.app.sendall(b"back")
        assert await threaded(one.peer.recv, 100) == b"back"


@pytest.mark.parametrize("kind", [KEY_UPDATE_NOT_REQUESTED, KEY_UPDATE_REQUESTED])
async def test_11_a_flood_of_key_updates_ends_the_connection_and_disturbs_no_other(ground: Floor, kind: int) -> None:
    hostile, honest = await ground.connect(), await ground.connect()
    assert await threaded(update_keys, hostile.peer, MANY, kind) < MANY
    assert await hostile.end() is Event.TLS_FLOODED
    await threaded(reset_of, hostile)
    await threaded(honest.peer.sendall, b"undisturbed")
    assert await threaded(honest.app.recv, 100) == b"undisturbed"


async def test_11_payload_between_key_updates_does_not_excuse_them(ground: Floor) -> None:
    one = await ground.connect()

    def mixed() -> None:
        for _ in range(MANY):
            update_keys(one.peer, 5)
            one.peer.send(b"x")

    with pytest.raises(SSL.Error):
        await threaded(mixed)
    assert await one.end() is Event.TLS_FLOODED


async def test_11_a_server_that_sends_tickets_without_end_is_refused(ground: Floor) -> None:
    one = await ground.connect("ingress")
    records = Records(one.secrets["SERVER_TRAFFIC_SECRET_0"], sent=2)  # two tickets after the handshake

    def issue(times: int) -> None:
        one.peer_socket.sendall(b"".join(records.seal(TICKET, HANDSHAKE) for _ in range(times)))

    await threaded(issue, 4)
    one.peer_socket.sendall(records.seal(b"some tickets are no harm"))
    assert await threaded(one.app.recv, 100) == b"some tickets are no harm"
    await threaded(issue, 1000)
    assert await one.end() is Event.TLS_FLOODED


async def test_the_bucket_fills_again_with_time() -> None:
    guard = flood.Guard()
    now = time.monotonic()
    for _ in range(flood.BURST):
        guard.took(now)
    assert not guard.tripped
    for second in range(1, 100):
        guard.took(now + second * 1.001)  # a second each, whatever floats make of it
    assert not guard.tripped
    guard.took(now + 99)
    assert guard.tripped


async def test_a_guard_is_forgotten_with_its_connection(ground: Floor) -> None:
    before = len(flood._guards)
    one = await ground.connect()
    assert len(flood._guards) == before + 1
    one.scope.cancel()
    await one.ended.wait()
    assert len(flood._guards) == before


class Records:
    """Application records of a client, sealed by hand (RFC 8446, sections 5.2 and 7.3): OpenSSL sends no empty one."""

    def __init__(self, secret: bytes, sent: int = 0) -> None:
        # TLS_AES_256_GCM_SHA384 or TLS_AES_128_GCM_SHA256
        size = 32 if len(secret) == hashlib.sha384().digest_size else 16
        self._aead = AESGCM(self._expand(secret, b"key", size))
        self._iv = int.from_bytes(self._expand(secret, b"iv", 12))
        self._sequence = sent

    def seal(self, content: bytes, kind: bytes = APPLICATION_DATA) -> bytes:
        header = b"\x17\x03\x03" + struct.pack(">H", len(content) + 17)
        nonce = (self._iv ^ self._sequence).to_bytes(12)
        self._sequence += 1
        return header + self._aead.encrypt(nonce, content + kind, header)

    @staticmethod
    def _expand(secret: bytes, label: bytes, length: int) -> bytes:
        label = b"tls13 " + label
        info = struct.pack(">HB", length, len(label)) + label + b"\0"
        algorithm = hashes.SHA384() if len(secret) == hashlib.sha384().digest_size else hashes.SHA256()
        return HKDFExpand(algorithm, length, info).derive(secret)


async def test_11_thousands_of_empty_records_end_the_connection(ground: Floor) -> None:
    one = await ground.connect()
    records = Records(one.secrets["CLIENT_TRAFFIC_SECRET_0"])
    one.peer_socket.sendall(records.seal(b"") + records.seal(b"one empty record is no harm"))
    assert await threaded(one.app.recv, 100) == b"one empty record is no harm"
    one.peer_socket.sendall(b"".join(records.seal(b"") for _ in range(5000)))
    assert await one.end() is Event.TLS_BROKEN
    await threaded(reset_of, one)
