"""Bytes to documents: encodings, repairs, and bounds."""

from __future__ import annotations

import hashlib

import pytest

from tng_compiler.diagnostics.codes import Code
from tng_compiler.source.document import read
from tng_compiler.source.text import MAX_BYTES


def codes(data: bytes) -> list[Code]:
    return [fault.code for fault in read("x", data).faults]


def test_a_plain_document_is_read_without_lark_or_faults() -> None:
    document = read("x", b'{"a": [1, "\xc3\xa9"]}')
    assert document.value == {"a": [1, "é"]}
    assert document.readable
    assert document.faults == ()
    assert document.digest == hashlib.sha256(b'{"a": [1, "\xc3\xa9"]}').hexdigest()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_wide_encodings_are_named(encoding: str) -> None:
    assert codes('{"add_ingress": []}'.encode(encoding)) == [Code.WIDE_ENCODING]


def test_an_invalid_byte_is_located_in_characters() -> None:
    (fault,) = read("x", b'{\n "\xc3\xa9\xff": 1}').faults
    assert fault.place.span is not None
    assert (fault.place.span.line, fault.place.span.column, fault.place.span.start) == (2, 4, 5)


def test_faults_with_a_plain_meaning_are_repaired_so_that_later_ones_are_found() -> None:
    document = read("x", b"{'a': True, // yes\n \"b\": [1, 2,],}")
    assert document.value == {"a": True, "b": [1, 2]}
    assert [fault.code for fault in document.faults] == [
        Code.WRONG_QUOTES,
        Code.MISSING_VALUE,
        Code.COMMENT,
        Code.TRAILING_COMMA,
        Code.TRAILING_COMMA,
    ]
    assert len(document.clean) == len(document.text)


def test_a_repair_over_a_line_end_moves_no_later_line() -> None:
    faults = read("x", b"[1\n2\n3 // three\n]").faults
    assert [fault.code for fault in faults] == [Code.MISSING_COMMA, Code.MISSING_COMMA, Code.COMMENT]
    assert [fault.place.span.line for fault in faults if fault.place.span] == [1, 2, 3]


def test_faults_without_a_plain_meaning_end_the_reading() -> None:
    document = read("x", b'{"a" 1, "b": [1, 2,],}')
    assert not document.readable
    assert [fault.code for fault in document.faults] == [Code.MISSING_COLON]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[1 2]", Code.MISSING_COMMA),
        ('{"a": 1 "b": 2}', Code.MISSING_COMMA),
        ("[1,,2]", Code.MISSING_VALUE),
        ("[,1]", Code.MISSING_VALUE),
        ("[", Code.UNCLOSED),
        ('{"a": [1, {"b": 2}', Code.UNCLOSED),
        ('["a', Code.UNCLOSED),
        ('["a\nb"]', Code.UNCLOSED),
        ("[1}", Code.UNCLOSED),
        ("[1]]", Code.EXTRA_DATA),
        ("{} {}", Code.EXTRA_DATA),
        ("[.5]", Code.BAD_NUMBER),
        ("[+1]", Code.BAD_NUMBER),
        ("[1.]", Code.BAD_NUMBER),
        ("[-Infinity]", Code.NOT_A_NUMBER),
        ("[1e400]", Code.NOT_A_NUMBER),
        ('["\\x"]', Code.BAD_ESCAPE),
        ('["\\u12g4"]', Code.BAD_ESCAPE),
        ('["\x7f\x01"]', Code.CONTROL_CHARACTER),
        ("{a: 1}", Code.UNQUOTED_NAME),
        ("[undefined]", Code.MISSING_VALUE),
        ('{"a" = 1}', Code.MISSING_COLON),
        ("<xml/>", Code.NOT_JSON),
    ],
)
def test_a_syntax_error_is_named_as_its_author_thinks_of_it(text: str, code: Code) -> None:
    assert codes(text.encode())[0] is code


@pytest.mark.parametrize("data", [b"[" * 10_000, b'{"a":' * 10_000, b"[" * 1_100_000, b'[{"a":' * 100_000])
def test_depth_neither_crashes_nor_recurses(data: bytes) -> None:
    assert codes(data) == [Code.TOO_DEEP]


def test_fifty_megabytes_are_refused_unread() -> None:
    assert codes(b"[" + b"1," * 25_000_000 + b"1]") == [Code.TOO_LARGE]
    assert codes(b" " * MAX_BYTES) == [Code.EMPTY_DOCUMENT]


def test_a_number_of_many_digits_is_bounded() -> None:
    assert codes(b"[" + b"9" * 1_000_000 + b"]") == [Code.NOT_A_NUMBER]
