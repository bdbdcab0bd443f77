"""The strict reader and the writer, with cbor2 as an independent judge of both."""

from __future__ import annotations

import tracemalloc

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tng_runtime.attest import cbor
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import decode
from tng_runtime.errors import Refused


@given(st.integers(0, (1 << 64) - 1))
def test_uint_is_what_cbor2_writes(value: int) -> None:
    """All head widths, shortest first."""
    assert cbor.uint(value) == cbor2.dumps(value)
    reader = cbor.Reader(cbor2.dumps(value))
    assert reader.uint() == value
    reader.end()


@given(st.binary(max_size=300), st.text(max_size=300))
def test_strings_are_what_cbor2_writes(blob: bytes, text: str) -> None:
    """Byte strings and texts, inside an array under a tag."""
    encoded = cbor.tagged(0xC0C000, cbor.array(cbor.byte_string(blob), cbor.text(text), cbor.NULL))
    assert encoded == cbor2.dumps(cbor2.CBORTag(0xC0C000, [blob, text, None]))
    reader = cbor.Reader(encoded)
    assert reader.tag() == 0xC0C000
    assert reader.array() == 3
    assert reader.byte_string_or_null() == blob
    assert reader.text() == text
    assert reader.byte_string_or_null() is None
    reader.end()


def test_text_map_keeps_the_order_given() -> None:
    """Peers write the members of the evidence in the order of the protocol."""
    encoded = cbor.text_map({"b": cbor.uint(1), "a": cbor.uint(24)})
    assert encoded == cbor2.dumps({"b": 1, "a": 24})
    reader = cbor.Reader(encoded)
    assert (reader.map(), reader.text(), reader.uint(), reader.text(), reader.uint()) == (2, "b", 1, "a", 24)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x18", id="half_a_head"),
        pytest.param(b"\x18\x17", id="longer_head_than_needed"),
        pytest.param(b"\x19\x00\xff", id="two_bytes_for_one"),
        pytest.param(b"\x1b\x00\x00\x00\x00\xff\xff\xff\xff", id="eight_bytes_for_four"),
        pytest.param(b"\x1c", id="reserved_head"),
        pytest.param(b"\x1f", id="indefinite"),
        pytest.param(b"\x20", id="negative"),
        pytest.param(b"\xf5", id="true"),
        pytest.param(b"\xf9\x00\x00", id="float"),
        pytest.param(b"\xc2\x41\x01", id="bignum"),
    ],
)
def test_reader_refuses_what_is_no_shortest_uint(data: bytes) -> None:
    """Other types, other lengths and other spellings of the same number."""
    with pytest.raises(Refused) as refusal:
        cbor.Reader(data).uint()
    assert refusal.value.code == Code.EVIDENCE_FORM


@pytest.mark.parametrize("head", [b"\x5b", b"\x7b", b"\x9b", b"\xbb"])
def test_h26_nothing_is_allocated_for_a_length_of_2_to_the_40(head: bytes) -> None:
    """A byte string, a text, an array and a map that announce a terabyte cost a few kilobytes."""
    value = cbor.tagged(0xC0C000, cbor.array(cbor.byte_string(head + (1 << 40).to_bytes(8)), b"\x40"))
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            decode(value, bytes(32))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000


def test_end_refuses_what_follows() -> None:
    """Nothing may lie behind the item."""
    reader = cbor.Reader(b"\x01\x02")
    reader.uint()
    with pytest.raises(Refused, match="1 bytes follow"):
        reader.end()
