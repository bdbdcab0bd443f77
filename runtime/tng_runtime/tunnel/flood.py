"""A bound on what a peer may make OpenSSL do without a byte of payload.

A TLS 1.3 peer may send handshake messages after the handshake: KeyUpdate, and as a server session tickets (RFC 8446
section 4.6). SSL_read handles them and reads on without returning, so a peer that sends nothing else at line rate
would keep that one call, and the event loop with it, for as long as it likes. OpenSSL bounds empty records and warning
alerts by itself, but not these.

A bucket per connection lets ``BURST`` of them, our answers counted too, pass and one more for each second. Honest peers
stay far below: a server sends a handful of tickets, and keys wear out after 2^24.5 full records (RFC 8446 section 5.5).
What comes above makes OpenSSL discard the record that follows and return (SSL_set_shutdown(3)).
"""

from __future__ import annotations

import time
from typing import Any

from OpenSSL._util import ffi, lib

from tng_runtime.tunnel import openssl

BURST = 64
_PER_SECOND = 1.0
# The end of one message's handling (SSL_CTX_set_info_callback(3)); HANDSHAKE_START is not told of after the handshake.
_SSL_CB_EXIT: int = lib.SSL_CB_EXIT


class Guard:
    """The bucket of one connection; ``tripped`` once it overflowed."""

    __slots__ = ("_left", "_since", "tripped")

    def __init__(self) -> None:
        self._left = float(BURST)
        self._since = time.monotonic()
        self.tripped = False

    def took(self, now: float) -> None:
        """Count one message at ``now`` (seconds, monotonic)."""
        self._left = min(self._left + (now - self._since) * _PER_SECOND, BURST) - 1
        self._since = now
        self.tripped = self.tripped or self._left < 0


_guards: dict[int, Guard] = {}


def watch(ssl: Any) -> Guard:
    """Count the handshake messages that ``ssl`` (SSL *, shaken hands) gets from now on; ``unwatch`` ends it."""
    guard = _guards[openssl.address(ssl)] = Guard()
    lib.SSL_set_info_callback(ssl, _on_info)
    return guard


def unwatch(ssl: Any) -> None:
    """Forget the guard of ``ssl``, before it is freed."""
    lib.SSL_set_info_callback(ssl, ffi.NULL)
    _guards.pop(openssl.address(ssl), None)


def _info(ssl: Any, where: int, _: int) -> None:
    if where & _SSL_CB_EXIT and (guard := _guards.get(openssl.address(ssl))) is not None:
        guard.took(time.monotonic())
        if guard.tripped:
            own = ffi.cast("SSL *", ssl)
            lib.SSL_set_shutdown(own, lib.SSL_get_shutdown(own) | lib.SSL_RECEIVED_SHUTDOWN)


_on_info = openssl.callback("void(*)(const SSL *, int, int)", _info)
