"""The OpenSSL inside cryptography's wheel, called directly where pyOpenSSL has no words for it or too many.

Four things are needed beyond pyOpenSSL's API (its version and cryptography's are pinned by hash, and ``require`` tries
all of this before anything is captured):

- **A lean data path.** ``Connection.recv_into`` allocates and copies per call and translates every EAGAIN into an
  exception. ``SSL_read`` and ``SSL_write`` on preallocated memory do neither.
- **A certificate that is asked for.** OpenSSL lets a handshake pause where its own certificate is needed, which is
  after the peer's hello was read, parsed and agreed to (SSL_set_cert_cb(3)). pyOpenSSL has no words for it.
- **A verdict that is asked for.** A client's handshake may pause where the server's certificate is to be verified
  (SSL_set_retry_verify(3)), and a refusal then is an alert that names its kind, which the peer's log tells. After the
  handshake OpenSSL sends no alerts but close_notify. A server has no such pause.
- **Settings without a binding.** A certificate message above 100 KB needs SSL_CTX_set_max_cert_list, a server without
  session tickets needs SSL_CTX_set_num_tickets, and one read(2) instead of two per record needs read-ahead. They are
  public OpenSSL functions (or macros over SSL_CTX_ctrl), linked into the wheel's extension module but not exported from
  it. Its symbol table names them, so their addresses are read from there. docs/decisions/0001-tls-layer.md has the
  measurements and the alternatives.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.bindings import _rust
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL
from OpenSSL._util import ffi, lib

from tng_runtime.errors import HostError

# openssl/ssl.h
_SSL_CTRL_SET_READ_AHEAD = 41
_SSL_CTRL_SET_MAX_CERT_LIST = 51
_SSL_CTRL_SET_RETRY_VERIFY = 136
SSL_ERROR_WANT_RETRY_VERIFY = 12
SSL_ERROR_WANT_READ: int = lib.SSL_ERROR_WANT_READ
SSL_ERROR_WANT_WRITE: int = lib.SSL_ERROR_WANT_WRITE
SSL_ERROR_ZERO_RETURN: int = lib.SSL_ERROR_ZERO_RETURN

# openssl/x509_vfy.h, and the alerts that they become (RFC 8446 section 6.2).
_ACCEPTED = 0
BAD_CERTIFICATE = 28  # X509_V_ERR_CERT_REJECTED
INTERNAL_ERROR = 1  # X509_V_ERR_UNSPECIFIED

_REINSTALL = "install the wheels of requirements.lock: pip install --require-hashes -r requirements.lock"

_SYMBOL = struct.Struct("<IBBHQQ")  # Elf64_Sym: name, info, other, section, value, size

# A record's 16 KiB, its header and tag, with room for the beginning of the next one.
_READ_BUFFER = 18_000

_SYMBOLS = {
    "SSL_ctrl": "long(*)(SSL *, int, long, void *)",
    "SSL_CTX_ctrl": "long(*)(SSL_CTX *, int, long, void *)",
    "SSL_CTX_set_cert_verify_callback": "void(*)(SSL_CTX *, int (*)(X509_STORE_CTX *, void *), void *)",
    "SSL_CTX_set_num_tickets": "int(*)(SSL_CTX *, size_t)",
    "SSL_CTX_set_default_read_buffer_len": "void(*)(SSL_CTX *, size_t)",
    "i2d_X509": "int(*)(X509 *, unsigned char **)",
}

SSL_read: Callable[[Any, Any, int], int] = lib.SSL_read
SSL_write: Callable[[Any, Any, int], int] = lib.SSL_write
SSL_get_error: Callable[[Any, int], int] = lib.SSL_get_error
SSL_shutdown: Callable[[Any], int] = lib.SSL_shutdown
_agreed, _agreed_size = ffi.new("unsigned char **"), ffi.new("unsigned int *")
clear_errors: Callable[[], None] = lib.ERR_clear_error


def take_reason() -> str | None:
    """The first error in this thread's queue, in OpenSSL's words (openssl/sslerr.h); the queue is empty then."""
    code = lib.ERR_peek_error()
    reason = lib.ERR_reason_error_string(code) if code else ffi.NULL
    lib.ERR_clear_error()
    return None if reason == ffi.NULL else ffi.string(reason).decode("ascii", "replace")


class Memory:
    """Preallocated memory in both views that the relay needs: a pointer for OpenSSL and a memoryview for sockets."""

    __slots__ = ("pointer", "size", "view")

    def __init__(self, size: int) -> None:
        self.size = size
        self.pointer: Any = ffi.new("unsigned char[]", size)
        self.view = memoryview(ffi.buffer(self.pointer)).cast("B")


def pointer(data: bytes) -> Any:
    """A pointer to ``data``, which it keeps alive."""
    return ffi.from_buffer(data)


def copy(memory: Any, start: int, end: int) -> bytes:
    """The bytes from ``start`` to ``end`` behind a pointer."""
    return bytes(ffi.buffer(memory + start, end - start))


def handle(connection: SSL.Connection) -> Any:
    """The ``SSL *`` of a pyOpenSSL connection, which owns it."""
    return connection._ssl  # noqa: SLF001 - see the module's docstring


def address(ssl: Any) -> int:
    """Where an ``SSL *`` points: what it is known by while it lives."""
    return int(ffi.cast("uintptr_t", ssl))


def shake(connection: SSL.Connection) -> int:
    """Go on with the handshake; 0: it is over, else it waits.

    For the socket (SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE) or for ``judge`` (SSL_ERROR_WANT_RETRY_VERIFY). Raises
    what ``do_handshake`` raises. Waiting is the rule here, and pyOpenSSL makes an exception of it.
    """
    ssl = handle(connection)
    result = lib.SSL_do_handshake(ssl)
    if result == 1:
        return 0
    error = SSL_get_error(ssl, result)
    if error not in (SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_WANT_RETRY_VERIFY):
        connection._raise_ssl_error(ssl, result)  # noqa: SLF001 - see the module's docstring
    return error


def alpn(connection: SSL.Connection) -> bytes:
    """The protocol that both agreed on; empty if on none."""
    lib.SSL_get0_alpn_selected(handle(connection), _agreed, _agreed_size)
    return bytes(ffi.buffer(_agreed[0], _agreed_size[0])) if _agreed_size[0] else b""


def peer_certificate(connection: SSL.Connection) -> bytes | None:
    """The peer's own certificate (DER); None if it showed none."""
    leaf = lib.SSL_get_peer_certificate(handle(connection))
    if leaf == ffi.NULL:
        return None
    try:
        return _der(leaf)
    finally:
        lib.X509_free(leaf)


def peer_chain(connection: SSL.Connection, *, server: bool) -> tuple[bytes, ...]:
    """The certificates (DER) that the peer showed to us, the ``server`` or the client; its own is the first."""
    ssl = handle(connection)
    chain = lib.SSL_get_peer_cert_chain(ssl)
    shown = [] if chain == ffi.NULL else [_der(lib.sk_X509_value(chain, at)) for at in range(lib.sk_X509_num(chain))]
    # SSL_get_peer_cert_chain(3): on a server the chain lacks the peer's own certificate.
    if server and (leaf := peer_certificate(connection)) is not None:
        shown.insert(0, leaf)
    return tuple(shown)


def _der(certificate: Any) -> bytes:
    encode = require()["i2d_X509"]
    # i2d_X509(3): the length without a buffer; with one, it is moved past what was written.
    buffer = ffi.new("unsigned char[]", encode(certificate, ffi.NULL))
    size = encode(certificate, ffi.new("unsigned char **", buffer))
    return bytes(ffi.buffer(buffer, size))


def pause_for_certificate(connection: SSL.Connection) -> None:
    """Let ``do_handshake`` raise ``SSL.WantX509LookupError`` once our certificate is needed, until ``show``."""
    lib.SSL_set_cert_cb(handle(connection), _on_certificate, ffi.NULL)


def show(connection: SSL.Connection, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Give a paused handshake its certificate; ``do_handshake`` goes on then."""
    connection.use_certificate(certificate)
    connection.use_privatekey(key)
    lib.SSL_set_cert_cb(handle(connection), ffi.NULL, ffi.NULL)


def take_any_chain(context: SSL.Context) -> None:
    """Let nothing about a peer's certificate end a handshake: it is looked at afterwards."""
    require()["SSL_CTX_set_cert_verify_callback"](_context(context), _on_any_chain, ffi.NULL)


def pause_for_verdict(context: SSL.Context) -> None:
    """Let a client's ``shake`` wait once the server has shown its certificates, until ``judge``."""
    require()["SSL_CTX_set_cert_verify_callback"](_context(context), _on_chain, ffi.NULL)


def judge(connection: SSL.Connection, alert: int | None) -> int:
    """``shake`` on where the peer is believed, or else refuse it with ``alert`` (BAD_CERTIFICATE, INTERNAL_ERROR)."""
    ssl = handle(connection)
    _judged[address(ssl)] = _ACCEPTED if alert is None else alert
    try:
        return shake(connection)
    finally:
        _judged.pop(address(ssl), None)


def harden(context: SSL.Context, groups: bytes, suites: bytes, max_certificate_message: int) -> None:
    """Issue no tickets, take certificate messages of up to ``max_certificate_message`` bytes, read whole records.

    ``groups`` is a list for SSL_CTX_set1_groups_list(3), where a star marks the one whose key share a client sends,
    ``suites`` one for SSL_CTX_set_ciphersuites(3). Raises ``HostError`` if this OpenSSL does not know them.
    """
    functions = require()
    pointer = _context(context)
    if lib.SSL_CTX_set1_curves_list(pointer, groups) != 1:
        lib.ERR_clear_error()
        raise HostError(f"this OpenSSL does not know the groups {groups.decode()}", hint=_REINSTALL)
    if lib.SSL_CTX_set_ciphersuites(pointer, suites) != 1:
        lib.ERR_clear_error()
        raise HostError(f"this OpenSSL does not know the suites {suites.decode()}", hint=_REINSTALL)
    functions["SSL_CTX_set_num_tickets"](pointer, 0)
    functions["SSL_CTX_ctrl"](pointer, _SSL_CTRL_SET_MAX_CERT_LIST, max_certificate_message, ffi.NULL)
    functions["SSL_CTX_ctrl"](pointer, _SSL_CTRL_SET_READ_AHEAD, 1, ffi.NULL)
    functions["SSL_CTX_set_default_read_buffer_len"](pointer, _READ_BUFFER)
    lib.SSL_CTX_set_mode(
        pointer,
        lib.SSL_MODE_ENABLE_PARTIAL_WRITE | lib.SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | lib.SSL_MODE_RELEASE_BUFFERS,
    )


def callback(signature: str, function: Callable[..., Any]) -> Any:
    """``function`` as one that C can call, by a pointer that is the result's: keep it.

    libffi writes a few instructions for it. Raises ``HostError`` where no memory may be written and executed.
    """
    try:
        return ffi.callback(signature, function)
    except MemoryError:
        raise HostError(
            "OpenSSL cannot call back: this process may not execute memory that it wrote (MemoryDenyWriteExecute)",
            hint="MemoryDenyWriteExecute=no in its unit (`tng systemd` prints one), or no PR_SET_MDWE before it",
        ) from None


def _context(context: SSL.Context) -> Any:
    return context._context  # noqa: SLF001 - see the module's docstring


_judged: dict[int, int] = {}
"""By the address of an SSL that is about to verify its peer: an error of x509_vfy.h."""


def _verify(store: Any, _argument: Any) -> int:
    # SSL_CTX_set_cert_verify_callback(3) names how the SSL is found.
    ssl = lib.X509_STORE_CTX_get_ex_data(store, lib.SSL_get_ex_data_X509_STORE_CTX_idx())
    error = _judged.get(address(ssl))
    if error is None:
        require()["SSL_ctrl"](ffi.cast("SSL *", ssl), _SSL_CTRL_SET_RETRY_VERIFY, 0, ffi.NULL)
    elif error != _ACCEPTED:
        lib.X509_STORE_CTX_set_error(store, error)
        return 0
    return 1


_VERIFIES = "int(*)(X509_STORE_CTX *, void *)"
_on_any_chain = callback(_VERIFIES, lambda _store, _argument: 1)
_on_chain = callback(_VERIFIES, _verify)
# -1: ask again later.
_on_certificate = callback("int(*)(SSL *, void *)", lambda _ssl, _argument: -1)


@cache
def require() -> dict[str, Callable[..., int]]:
    """The functions that ``harden`` calls; raises ``HostError`` if this build of cryptography does not name them."""
    path = _rust.__file__
    try:
        found = _symbols(path, _SYMBOLS)
    except (ValueError, OverflowError, struct.error):  # no module as it is meant: mmap and unpack_from say so
        found = {}
    base = _load_address(path)
    missing = [name for name in _SYMBOLS if name not in found]
    if missing or base is None:
        raise HostError(
            f"{path}: this build of cryptography does not name {', '.join(missing) or 'where it was loaded'}",
            hint=_REINSTALL,
        )
    return {name: ffi.cast(_SYMBOLS[name], base + found[name]) for name in _SYMBOLS}


def _symbols(path: str, names: Iterable[str]) -> dict[str, int]:
    """Values of ``names`` in the ELF-64 symbol table of ``path`` (System V ABI, chapters 4 and 5)."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as image:
        if image[:6] != b"\x7fELF\x02\x01":
            return {}
        sections_at = struct.unpack_from("<Q", image, 40)[0]
        entry_size, count = struct.unpack_from("<HH", image, 58)
        headers = [struct.unpack_from("<IIQQQQIIQQ", image, sections_at + i * entry_size) for i in range(count)]
        for _, kind, _, _, offset, size, link, *_ in headers:
            if kind == 2:  # SHT_SYMTAB
                texts = (headers[link][4], headers[link][4] + headers[link][5])
                values = {name: _value(image, (offset, offset + size), texts, name) for name in names}
                return {name: value for name, value in values.items() if value is not None}
    return {}


def _value(image: mmap.mmap, table: tuple[int, int], texts: tuple[int, int], name: str) -> int | None:
    """Of the symbol ``name``; found by searching, since there are 100,000 of them, and nobody waits for the others."""
    at = image.find(b"\0" + name.encode() + b"\0", *texts)
    if at < 0:
        return None
    wanted = struct.pack("<I", at + 1 - texts[0])
    here = image.find(wanted, *table)
    while here >= 0 and (here - table[0]) % _SYMBOL.size:
        here = image.find(wanted, here + 1, table[1])
    return _SYMBOL.unpack_from(image, here)[4] if here >= 0 else None


def _load_address(path: str) -> int | None:
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) == 6 and fields[5].rstrip("\n") == path and int(fields[2], 16) == 0:
                return int(fields[0].partition("-")[0], 16)
    return None
