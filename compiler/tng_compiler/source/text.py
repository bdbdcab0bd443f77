"""Bytes to text: strict UTF-8 (RFC 8259, section 8.1), bounded in size, every refusal with its place."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity, Span

MAX_BYTES = 12 * 1024 * 1024
"""A document above this is refused unread: 100,000 ``capture_dst`` items are about 4 MiB."""

MAX_CONTAINERS = 1_200_000
"""Arrays and objects: no item of a configuration is shorter than 11 bytes, and smaller ones take memory only."""

_WIDE_MARKS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_START = Span(0, 0, 1, 1)


@dataclass(frozen=True, slots=True)
class Decoded:
    """``text`` is None when the bytes are no text; ``shown`` is what an excerpt may quote then."""

    text: str | None
    shown: str
    faults: tuple[Diagnostic, ...]


def decode(data: bytes) -> Decoded:
    """Decode a whole document."""
    if len(data) > MAX_BYTES:
        return _refuse(
            Code.TOO_LARGE,
            f"expected a document of at most {MAX_BYTES // 1024 // 1024} MiB, found more",
            "split the configuration, or put addresses that change into an `ipset`",
        )
    if data.count(b"[") + data.count(b"{") > MAX_CONTAINERS:
        return _refuse(
            Code.TOO_LARGE,
            f"expected a document of at most {MAX_CONTAINERS:,} arrays and objects, found more",
            "split the configuration, or put addresses that change into an `ipset`",
        )
    if data.startswith(_WIDE_MARKS) or data[:4].count(0) >= 2 or (len(data) == 2 and 0 in data):
        return _refuse(
            Code.WIDE_ENCODING,
            "expected UTF-8, found UTF-16 or UTF-32",
            "save the file as UTF-8 without a byte order mark",
        )
    faults: tuple[Diagnostic, ...] = ()
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
        faults = (
            _fault(
                Code.BYTE_ORDER_MARK,
                "expected the document to start with `{`, found a byte order mark",
                _START,
                "save the file as UTF-8 without a byte order mark",
            ),
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _not_utf8(data, error, faults)
    if not text.strip(" \t\r\n"):
        fault = _fault(
            Code.EMPTY_DOCUMENT,
            "expected a JSON object, found an empty document",
            _START,
            'the smallest useful document has one entry in "add_ingress" or "add_egress"',
        )
        return Decoded(None, text, (*faults, fault))
    return Decoded(text, text, faults)


def _not_utf8(data: bytes, error: UnicodeDecodeError, faults: tuple[Diagnostic, ...]) -> Decoded:
    before = data[: error.start].decode("utf-8")
    line = before.count("\n") + 1
    column = len(before) - (before.rfind("\n") + 1) + 1
    span = Span(len(before), len(before) + 1, line, column)
    message = f"expected UTF-8, found the byte 0x{data[error.start]:02x} at offset {error.start}, which is none"
    fault = _fault(Code.NOT_UTF8, message, span, "save the file as UTF-8")
    return Decoded(None, data.decode("utf-8", "replace"), (*faults, fault))


def _refuse(code: Code, message: str, help_: str) -> Decoded:
    return Decoded(None, "", (_fault(code, message, _START, help_),))


def _fault(code: Code, message: str, span: Span, help_: str) -> Diagnostic:
    return Diagnostic(code, Severity.ERROR, message, Place("", span=span), help=help_)
