"""The contexts themselves: made once for a certificate, and what they can and cannot agree on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from runtime.tunnel.tls import shake_in_memory
from tng_runtime.tunnel import credentials, openssl
from tng_runtime.tunnel.contexts import Contexts, Side
from tng_runtime.tunnel.credentials import Credentials

pytestmark = pytest.mark.anyio


async def throwaway() -> Credentials:
    return await credentials.throwaway(datetime.now(UTC))


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_context_is_made_once_for_a_certificate_and_anew_for_the_next(side: Side) -> None:
    contexts = Contexts(side, verifies=True)
    first, second = await throwaway(), await throwaway()
    made = contexts.for_credentials(first)
    assert contexts.for_credentials(first) is made
    assert contexts.for_credentials(second) is not made


@pytest.mark.parametrize("side", ["client", "server"])
async def test_tls_1_3_is_the_only_version_and_sessions_are_not_kept(side: Side) -> None:
    context = Contexts(side, verifies=False).for_credentials(await throwaway())
    # SSL_CTRL_GET_MIN_PROTO_VERSION of openssl/ssl.h
    assert openssl.require()["SSL_CTX_ctrl"](context._context, 130, 0, ffi.NULL) == SSL.TLS1_3_VERSION
    assert context.get_session_cache_mode() == SSL.SESS_CACHE_OFF


@pytest.mark.parametrize("group", [b"X25519", b"secp256r1", b"secp384r1"])
async def test_a_peer_without_the_hybrid_gets_its_own_group(group: bytes) -> None:
    """By a second hello where it lacks ours (RFC 8446 section 4.1.4)."""
    ours = Contexts("client", verifies=False).for_credentials(await throwaway())
    theirs = Contexts("server", verifies=False).for_credentials(await throwaway())
    assert lib.SSL_CTX_set1_curves_list(theirs._context, group) == 1
    client, server = SSL.Connection(ours), SSL.Connection(theirs)
    shake_in_memory(client, server)
    assert client.get_group_name() == server.get_group_name()
    name = server.get_group_name()
    assert name is not None
    assert name.lower() in {group.decode().lower(), "prime256v1"}
