"""What a handshake was agreed by is gone with it, and the connection goes on."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime

import pytest
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from runtime.relay.peers import unbound
from runtime.tunnel.tls import pass_on, shake_in_memory
from tng_runtime.tunnel import credentials, ephemeral, openssl
from tng_runtime.tunnel.contexts import Contexts

pytestmark = pytest.mark.anyio


class Info(ctypes.Structure):
    """struct mallinfo2 of malloc.h; the eighth is uordblks."""

    _fields_ = (("fields", ctypes.c_size_t * 10),)


LIBC = ctypes.CDLL(None)
LIBC.mallinfo2.restype = Info


def kind(connection: SSL.Connection, which: int) -> int:
    """Of a key share that OpenSSL keeps (SSL_get_tmp_key(3) and its like); 0: it keeps none."""
    found = ffi.new("EVP_PKEY **")
    if openssl.require()["SSL_ctrl"](openssl.handle(connection), which, 0, found) != 1:
        return 0
    try:
        return int(lib.EVP_PKEY_id(found[0]))
    finally:
        lib.EVP_PKEY_free(found[0])


def allocated() -> int:
    """Bytes of malloc(3) in use (mallinfo2(3))."""
    return int(LIBC.mallinfo2().fields[7])


@pytest.mark.parametrize("group", [b"X25519MLKEM768", b"X25519", b"secp384r1"])
async def test_key_shares_are_forgotten_and_payload_passes_with_new_keys_too(group: bytes) -> None:
    shown = await credentials.throwaway(datetime.now(UTC))
    client = SSL.Connection(Contexts("client", verifies=False).for_credentials(shown))
    server = SSL.Connection(Contexts("server", verifies=False).for_credentials(shown))
    assert lib.SSL_set1_curves_list(openssl.handle(server), group) == 1
    shake_in_memory(client, server)
    kept = [(client, ephemeral._SSL_CTRL_GET_TMP_KEY), (server, ephemeral._SSL_CTRL_GET_PEER_TMP_KEY)]
    assert not {kind(*each) for each in kept} & {0, lib.EVP_PKEY_RSA}, "what there is to be forgotten"
    before = allocated()
    for each in (client, server):
        ephemeral.forget(each)
    assert {kind(*each) for each in kept} == {lib.EVP_PKEY_RSA}, "of which there is none"
    assert before - allocated() > 12_000 or b"MLKEM" not in group
    assert lib.ERR_peek_error() == 0
    for one, other in ((client, server), (server, client)):
        one.send(b"before")
        assert unbound("SSL_key_update", "int(*)(SSL *, int)")(openssl.handle(one), 1) == 1
        one.send(b"after")
        pass_on(one, other)
        assert other.recv(100) + other.recv(100) == b"beforeafter"
        pass_on(other, one)
