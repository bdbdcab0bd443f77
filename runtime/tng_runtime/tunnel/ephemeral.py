"""The keys that a handshake agreed by, forgotten when it is over.

OpenSSL keeps both key shares as long as the connection, for whoever asks which they were (SSL_get_tmp_key(3)): with
X25519MLKEM768 8.7 KiB on a client, its private key among them, and 6.8 KiB on a server, a fifth of an idle connection.
The traffic keys are made by then, and TLS 1.3 makes later ones out of those (RFC 8446 section 7.2).
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from tng_runtime.tunnel import openssl

# openssl/ssl.h: ours on a client, the peer's on a server.
_SSL_CTRL_GET_PEER_TMP_KEY, _SSL_CTRL_GET_TMP_KEY = 109, 133

_key: Any = ffi.new("EVP_PKEY **")


def forget(connection: SSL.Connection) -> None:
    """Free the key shares of a connection that has shaken hands."""
    control, ssl = openssl.require()["SSL_ctrl"], openssl.handle(connection)
    for which in (_SSL_CTRL_GET_TMP_KEY, _SSL_CTRL_GET_PEER_TMP_KEY):
        if control(ssl, which, 0, _key) == 1:
            # Assigning frees what was there before, and nothing is assigned (openssl: crypto/evp/p_lib.c).
            lib.EVP_PKEY_assign_RSA(_key[0], ffi.NULL)
            lib.EVP_PKEY_free(_key[0])
