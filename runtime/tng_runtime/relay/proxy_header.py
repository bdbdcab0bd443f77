"""The header by which an egress tells a service who its client is: the PROXY protocol, version 2.

https://www.haproxy.org/download/2.6/doc/proxy-protocol.txt, sections 2.2 and 2.2.7. Behind the addresses come, where
the client was verified, values of types that the protocol leaves to everybody:

    0xE0  one policy that the client was judged by, UTF-8; one value for each of the entry's ``policy_ids``
    0xE1  SHA-256 of the client's public key (SubjectPublicKeyInfo, RFC 5280, section 4.1.2.7), 32 bytes

Binary, because nginx before 1.23.2 reads no more than 107 bytes of it for TLS and streams, in which one short policy
and the digest still find room beside the addresses of IPv6.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from OpenSSL import SSL

from tng_runtime.tunnel import openssl

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
POLICY, KEY = 0xE0, 0xE1
_VERSION_2_PROXY = 0x21
_STREAM = {4: 0x11, 6: 0x21}
_HEAD = struct.Struct(">BBH")
# Digests of keys by those of their certificates.
_keys: dict[bytes, bytes] = {}
_MOST_KEYS = 4096


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a client that was verified; nothing of one that was not."""

    policy_ids: Sequence[str] = ()
    key_sha256: bytes | None = None


def proxy_header(client: str, host: str, port: int, told: Told) -> bytes:
    """The header for a connection of ``client`` (``10.0.0.1:80``, ``[fe80::1%eth0]:80``) that meant ``host``, ``port``.

    Both addresses are of one family; what names the interface of a link-local one is left out. Raises ``struct.error``
    if the values take more than 64 KiB, which the compiler refuses.
    """
    source, _, source_port = client.rpartition(":")
    near, far = _address(source), _address(host)
    assert near.version == far.version, "a connection has one family"
    body = near.packed + far.packed + struct.pack(">HH", int(source_port), port)
    body += b"".join(_value(POLICY, policy.encode()) for policy in told.policy_ids)
    if told.key_sha256 is not None:
        body += _value(KEY, told.key_sha256)
    return SIGNATURE + _HEAD.pack(_VERSION_2_PROXY, _STREAM[near.version], len(body)) + body


def key_digest(connection: SSL.Connection) -> bytes | None:
    """The digest of the peer's public key, as in 0xE1; None if it showed no certificate."""
    certificate = openssl.peer_certificate(connection)
    if certificate is None:
        return None
    # OpenSSL takes as long to read a certificate once more as the kernel for all else at a connection's end.
    digest = hashlib.sha256(certificate).digest()
    if (known := _keys.get(digest)) is None:
        key = load_der_x509_certificate(certificate).public_key()
        known = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()
        if len(_keys) >= _MOST_KEYS:
            _keys.clear()
        _keys[digest] = known
    return known


def _address(text: str) -> IPv4Address | IPv6Address:
    return ip_address(text.strip("[]").partition("%")[0])


def _value(kind: int, value: bytes) -> bytes:
    return struct.pack(">BH", kind, len(value)) + value
