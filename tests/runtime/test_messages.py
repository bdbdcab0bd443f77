"""What the processes say to each other: whatever bytes come, a message or one kind of error."""

from __future__ import annotations

import struct
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tng_runtime import messages
from tng_runtime.messages import KINDS, MAX_BODY, VERSION, Declined, Drain, Message, MessageError, Reader, VerdictWanted

NUMBER = st.integers(-(1 << 63), (1 << 63) - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TIME = st.datetimes(timezones=st.just(UTC))
VALUES: dict[object, st.SearchStrategy[object]] = {
    int: NUMBER,
    str: TEXT,
    bytes: st.binary(max_size=200),
    datetime: TIME,
    str | None: st.none() | TEXT,
    int | None: st.none() | NUMBER,
    datetime | None: st.none() | TIME,
    tuple[str, ...]: st.lists(TEXT, max_size=4).map(tuple),
    tuple[int, ...]: st.lists(NUMBER, max_size=4).map(tuple),
    tuple[bytes, ...]: st.lists(st.binary(max_size=50), max_size=4).map(tuple),
}


@st.composite
def some_message(draw: st.DrawFn) -> Message:
    kind = draw(st.sampled_from(KINDS))
    hints = get_type_hints(kind)
    return kind(*(draw(VALUES[hints[field.name]]) for field in fields(kind)))


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=10)))
    return [data[first:last] for first, last in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@given(st.data(), st.lists(some_message(), max_size=5))
def test_what_was_written_is_read_in_whatever_pieces_it_comes(data: st.DataObject, said: list[Message]) -> None:
    written = b"".join(map(messages.encode, said))
    reader = Reader()
    assert [each for piece in data.draw(pieces(written)) for each in reader.feed(piece)] == said
    assert reader.holds == 0


@given(st.binary(max_size=300))
def test_any_bytes_are_messages_an_unfinished_one_or_the_one_error(data: bytes) -> None:
    reader = Reader()
    try:
        said = list(reader.feed(data))
    except MessageError:
        return
    assert b"".join(map(messages.encode, said)) == data[: len(data) - reader.holds]


@given(some_message(), st.data())
def test_one_wrong_byte_gives_another_message_or_the_one_error(said: Message, data: st.DataObject) -> None:
    written = bytearray(messages.encode(said))
    place = data.draw(st.integers(0, len(written) - 1))
    written[place] ^= data.draw(st.integers(1, 255))
    reader = Reader()
    try:
        read = list(reader.feed(bytes(written)))
    except MessageError:
        return
    assert read != [said]


@given(some_message(), st.integers(0, 255).filter(lambda number: number != VERSION))
def test_another_version_is_refused(said: Message, version: int) -> None:
    with pytest.raises(MessageError, match=f"version {version}"):
        list(Reader().feed(bytes([version]) + messages.encode(said)[1:]))


def test_a_length_beyond_the_bound_is_refused_before_its_bytes_are_waited_for() -> None:
    with pytest.raises(MessageError):
        list(Reader().feed(struct.pack(">BBI", VERSION, 0, MAX_BODY + 1)))


def test_what_would_be_too_large_is_not_written() -> None:
    with pytest.raises(MessageError, match="more than"):
        messages.encode(VerdictWanted(1, 0, "10.0.0.1", (bytes(MAX_BODY),)))
    with pytest.raises(MessageError, match="items"):
        messages.encode(VerdictWanted(1, 0, "10.0.0.1", (b"",) * 5000))
    with pytest.raises(MessageError):
        messages.encode(Drain(1 << 64))


def test_text_that_is_no_text_is_written_as_what_it_looks_like() -> None:
    """Names of files are bytes, and an error may name one."""
    (read,) = Reader().feed(messages.encode(Declined(1, "RA-X", "/etc/\udcff.pem")))
    assert read == Declined(1, "RA-X", r"/etc/\udcff.pem")


def test_what_follows_the_last_field_is_refused() -> None:
    written = messages.encode(Drain(None))
    longer = struct.pack(">BBI", VERSION, written[1], len(written) - 6 + 1) + written[6:] + b"\0"
    with pytest.raises(MessageError, match="followed by 1 bytes"):
        list(Reader().feed(longer))


def test_a_message_is_a_value() -> None:
    assert replace(Drain(1), milliseconds=2) == Drain(2)
