"""The header of the PROXY protocol, read by a reader of its own that was written from the specification."""

from __future__ import annotations

import hashlib
import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from runtime.relay.peers import floor
from tng_runtime.relay.proxy_header import Told, key_digest, proxy_header

PORTS = st.integers(1, 65535)
POLICIES = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80), max_size=20)
DIGESTS = st.none() | st.binary(min_size=32, max_size=32)


def read(data: bytes) -> tuple[str, int, str, int, list[tuple[int, bytes]]]:
    """Source, its port, destination, its port, and the values with their types; what is not whole fails."""
    assert data[:12] == bytes.fromhex("0d0a0d0a000d0a515549540a")
    assert data[12] == 0x21, "version 2, PROXY"
    family, size = (socket.AF_INET, 4) if data[13] == 0x11 else (socket.AF_INET6, 16)
    assert data[13] in (0x11, 0x21), "TCP over IPv4 or IPv6"
    body = data[16:]
    assert int.from_bytes(data[14:16]) == len(body)
    near, far = (socket.inet_ntop(family, body[at : at + size]) for at in (0, size))
    ports, rest = body[2 * size : 2 * size + 4], body[2 * size + 4 :]
    values = []
    while rest:
        length = int.from_bytes(rest[1:3])
        assert len(rest) >= 3 + length
        values.append((rest[0], rest[3 : 3 + length]))
        rest = rest[3 + length :]
    return near, int.from_bytes(ports[:2]), far, int.from_bytes(ports[2:]), values


@given(st.ip_addresses(v=4), PORTS, st.ip_addresses(v=4), PORTS, POLICIES, DIGESTS)
def test_what_is_told_of_ipv4_is_read(
    near: IPv4Address, port: int, far: IPv4Address, far_port: int, policies: list[str], digest: bytes | None
) -> None:
    data = proxy_header(f"{near}:{port}", str(far), far_port, Told(policies, digest))
    *ends, values = read(data)
    assert ends == [str(near), port, str(far), far_port]
    assert values == expected(policies, digest)


@given(st.ip_addresses(v=6), PORTS, st.ip_addresses(v=6), PORTS, POLICIES, DIGESTS, st.sampled_from(["", "%eth0"]))
def test_what_is_told_of_ipv6_is_read(
    near: IPv6Address,
    port: int,
    far: IPv6Address,
    far_port: int,
    policies: list[str],
    digest: bytes | None,
    scope: str,
) -> None:
    data = proxy_header(f"[{near}{scope}]:{port}", str(far), far_port, Told(policies, digest))
    *ends, values = read(data)
    assert [IPv6Address(str(ends[0])), ends[1], IPv6Address(str(ends[2])), ends[3]] == [near, port, far, far_port]
    assert values == expected(policies, digest)


def expected(policies: list[str], digest: bytes | None) -> list[tuple[int, bytes]]:
    """The values, in their order."""
    return [(0xE0, policy.encode()) for policy in policies] + ([] if digest is None else [(0xE1, digest)])


@pytest.mark.parametrize("client", ["[fd77::1]:40000", "10.77.0.1:40000"])
def test_a_short_policy_and_the_digest_fit_into_what_an_old_nginx_reads(client: str) -> None:
    told = Told(["default"], hashlib.sha256(b"").digest())
    server = "fd77::2" if "[" in client else "10.77.0.2"
    assert len(proxy_header(client, server, 8080, told)) <= 107


def test_a_client_that_was_not_verified_has_an_address_and_nothing_else() -> None:
    data = proxy_header("10.0.0.1:4000", "10.0.0.2", 80, Told())
    assert data.hex() == "0d0a0d0a000d0a515549540a2111000c0a0000010a0000020fa00050"


@pytest.mark.anyio
async def test_the_digest_is_that_of_the_peers_key_and_none_of_a_peer_without_a_certificate() -> None:
    async with floor() as on:
        server = await on.connect("ingress")
        shown = server.peer.get_certificate()
        assert shown is not None
        key = shown.to_cryptography().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        assert key_digest(server.link._connection) == hashlib.sha256(key).digest()
        client = await on.connect("egress")
        assert key_digest(client.link._connection) is None
