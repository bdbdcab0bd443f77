"""The symbols of cryptography's extension module: found in the real one, missed by name in a stripped one."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.bindings import _rust
from OpenSSL import SSL
from OpenSSL._util import ffi

from tng_runtime.errors import HostError
from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.contexts import GROUPS, SUITES

REAL = Path(_rust.__file__)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a build of cryptography of another making is looked for."""
    path = tmp_path / REAL.name
    monkeypatch.setattr(_rust, "__file__", str(path))
    openssl.require.cache_clear()
    yield path
    openssl.require.cache_clear()


def without_symbol_table(image: bytes) -> bytes:
    """As strip(1) leaves it, for a reader of sections: the symbol table is a section of no type."""
    changed = bytearray(image)
    sections_at = struct.unpack_from("<Q", image, 40)[0]
    size, count = struct.unpack_from("<HH", image, 58)
    for number in range(count):
        at = sections_at + number * size + 4
        if struct.unpack_from("<I", image, at)[0] == 2:
            struct.pack_into("<I", changed, at, 0)
    return bytes(changed)


def test_the_functions_of_the_installed_build_are_found_and_do_what_they_say() -> None:
    functions = openssl.require()
    assert set(functions) == set(openssl._SYMBOLS)
    context = SSL.Context(SSL.TLS_METHOD)
    openssl.harden(context, GROUPS, SUITES, 123_456)
    control = functions["SSL_CTX_ctrl"]
    # SSL_CTRL_GET_MAX_CERT_LIST and SSL_CTRL_GET_READ_AHEAD of openssl/ssl.h
    assert control(context._context, 50, 0, ffi.NULL) == 123_456
    assert control(context._context, 40, 0, ffi.NULL) == 1


def test_a_group_that_is_not_known_is_an_error_of_the_host() -> None:
    with pytest.raises(HostError, match="no-such-group"):
        openssl.harden(SSL.Context(SSL.TLS_METHOD), b"no-such-group", SUITES, 1)


def test_a_suite_that_is_not_known_is_an_error_of_the_host() -> None:
    with pytest.raises(HostError, match="no-such-suite"):
        openssl.harden(SSL.Context(SSL.TLS_METHOD), GROUPS, b"no-such-suite", 1)


def test_what_a_stripped_build_does_not_name_is_named(built: Path) -> None:
    built.write_bytes(without_symbol_table(REAL.read_bytes()))
    with pytest.raises(HostError) as caught:
        openssl.require()
    assert caught.value.exit_code == 3
    assert str(built) in caught.value.message
    for name in openssl._SYMBOLS:
        assert name in caught.value.message
    assert "requirements.lock" in caught.value.hint


@pytest.mark.skipif(shutil.which("objcopy") is None, reason="needs binutils")
def test_what_binutils_strip_is_missed_too(built: Path) -> None:
    subprocess.run(["objcopy", "--strip-all", str(REAL), str(built)], check=True, timeout=60)
    with pytest.raises(HostError, match="SSL_CTX_set_num_tickets"):
        openssl.require()


def test_one_missing_symbol_is_named_alone(built: Path) -> None:
    image = REAL.read_bytes().replace(b"\0SSL_CTX_set_num_tickets\0", b"\0SSL_CTX_set_num_tockets\0")
    built.write_bytes(image)
    with pytest.raises(HostError) as caught:
        openssl.require()
    assert "SSL_CTX_set_num_tickets" in caught.value.message
    assert "SSL_CTX_ctrl" not in caught.value.message


@pytest.mark.parametrize(
    "content",
    [b"", b"\x7fELF", b"\x7fELF\x02\x01", b"not an ELF file at all" * 10, b"\x7fELF\x02\x01" + b"\xff" * 4000],
    ids=["empty", "magic", "header_cut", "text", "wild_offsets"],
)
def test_a_file_that_is_no_module_is_an_error_of_the_host(built: Path, content: bytes) -> None:
    built.write_bytes(content)
    with pytest.raises(HostError):
        openssl.require()


def test_a_module_that_is_not_loaded_is_said_to_be_so(built: Path) -> None:
    """The symbols are there, but it is a file beside the one in use."""
    shutil.copyfile(REAL, built)
    with pytest.raises(HostError, match="where it was loaded"):
        openssl.require()


def test_memory_is_one_buffer_in_both_views() -> None:
    memory = openssl.Memory(16)
    memory.view[:5] = b"hello"
    assert openssl.copy(memory.pointer, 1, 5) == b"ello"
    assert (len(memory.view), memory.size) == (16, 16)
