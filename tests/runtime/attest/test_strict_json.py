"""JSON from foreigners: one reading or none."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tng_runtime.attest import strict_json
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_parse_reads_what_json_writes(value: object) -> None:
    """Text or bytes, canonical or not."""
    assert strict_json.parse(json.dumps(value), Code.TOKEN_FORM, "it") == value
    assert strict_json.parse(strict_json.canonical(value).encode(), Code.TOKEN_FORM, "it") == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff", id="not_utf_8"),
        pytest.param(b"\xef\xbb\xbf{}", id="byte_order_mark"),
        pytest.param(b"{} {}", id="two_documents"),
        pytest.param(b'{"a":1,"a":1}', id="duplicate_members"),
        pytest.param(b'{"a":1,"\\u0061":1}', id="duplicate_members_by_escape"),
        pytest.param(b"NaN", id="nan"),
        pytest.param(b"[-Infinity]", id="infinity"),
        pytest.param(b"1e999", id="a_number_without_end"),
        pytest.param(b"1" * 5000, id="a_number_of_5000_digits"),
        pytest.param(b'"\\udc00"', id="half_a_surrogate_pair"),
        pytest.param(b'{"\\ud800":1}', id="half_a_surrogate_pair_as_name"),
        pytest.param(b"[" * 65 + b"]" * 65, id="65_levels"),
        pytest.param(b'{"a":' * 100_000, id="100000_levels"),
    ],
)
def test_parse_refuses(text: bytes) -> None:
    """Whatever two readers could read differently."""
    with pytest.raises(Refused) as refusal:
        strict_json.parse(text, Code.TOKEN_FORM, "it")
    assert refusal.value.code == Code.TOKEN_FORM


def test_parse_accepts_the_depth_allowed() -> None:
    """Sixty-four arrays, the innermost empty."""
    assert strict_json.parse(b"[" * 64 + b"]" * 64, Code.TOKEN_FORM, "it") is not None
    assert strict_json.parse(b"-1.5e3", Code.TOKEN_FORM, "it") == -1500.0


def test_parse_object_refuses_other_values() -> None:
    """An object is wanted."""
    with pytest.raises(Refused, match="not a JSON object"):
        strict_json.parse_object(b"[]", Code.TOKEN_FORM, "it")


def test_details_do_not_quote_the_document() -> None:
    """A log must not carry what a stranger wrote."""
    with pytest.raises(Refused) as refusal:
        strict_json.parse(b'{"secret": nonsense}', Code.TOKEN_FORM, "it")
    assert "secret" not in refusal.value.detail


OBJECTS = st.dictionaries(st.text(), VALUES, max_size=6)


@given(OBJECTS, st.sampled_from([None, 1]))
def test_a_small_object_is_what_any_object_is(value: dict[str, object], indent: int | None) -> None:
    """Read member by member, it is the same value."""
    text = json.dumps(value, indent=indent)
    assert strict_json.parse_small_object(text.encode(), 6, Code.TOKEN_FORM, "it") == value
    assert list(strict_json.parse_small_object(f" {text}\r\n", 6, Code.TOKEN_FORM, "it")) == list(value)


def outcome(text: bytes, small: bool) -> object:
    try:
        if small:
            return strict_json.parse_small_object(text, 1 << 20, Code.TOKEN_FORM, "it")
        return strict_json.parse_object(text, Code.TOKEN_FORM, "it")
    except Refused as refused:
        return refused.code


@given(st.text(alphabet='{}[]:,"\\ab1 \n', max_size=30))
@example("{")
@example('{"a"}')
@example('{"a":1')
@example('{"a":1,}')
@example('{"a":1}}')
@example("{1:1}")
@example('{"a":1,"a":1}')
@example("{ }")
@example(" {} ")
@example("[]")
@example("")
def test_nothing_is_a_small_object_that_is_no_object(text: str) -> None:
    """Both readers say the same about anything."""
    assert outcome(text.encode(), True) == outcome(text.encode(), False)


def test_what_follows_a_member_too_many_is_not_parsed() -> None:
    """Not even to see that it is no JSON; and what is within is bounded in depth."""
    with pytest.raises(Refused, match="more than 2 members"):
        strict_json.parse_small_object(b'{"a":1,"b":2,"c":' + b"[" * 1000, 2, Code.TOKEN_FORM, "it")
    with pytest.raises(Refused, match="nested deeper"):
        strict_json.parse_small_object(b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", 2, Code.TOKEN_FORM, "it")
