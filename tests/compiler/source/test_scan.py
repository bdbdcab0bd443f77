"""The exact path agrees with the fast one about every pointer of any document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic
from tng_compiler.diagnostics.pointer import child
from tng_compiler.source.document import read
from tng_compiler.source.scan import walk

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=15,
)


def pointers(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    yield pointer, value
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for token, member in members:
        yield from pointers(member, child(pointer, token))


@settings(max_examples=100)
@given(values, st.sampled_from((None, 1, "\t")), st.booleans())
def test_the_span_of_every_pointer_holds_its_value(value: Any, indent: Any, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    wanted = dict(pointers(value))
    found = walk(text, wanted)
    assert {pointer: json.loads(text[start:end]) for pointer, (start, end) in found.values.items()} == wanted
    for pointer, (start, end) in found.keys.items():
        assert child(pointer.rpartition("/")[0], json.loads(text[start:end])) == pointer


@settings(max_examples=100)
@given(values, st.data())
def test_what_is_not_wanted_is_skipped_and_nothing_else(value: Any, data: st.DataObject) -> None:
    text = json.dumps(value)
    everything = dict(pointers(value))
    wanted = data.draw(st.sets(st.sampled_from(sorted(everything))))
    found = walk(text, wanted)
    assert wanted <= found.values.keys()
    assert all(json.loads(text[slice(*span)]) == everything[pointer] for pointer, span in found.values.items())


def judged(text: str) -> tuple[Diagnostic, ...]:
    return read("x", text.encode("utf-8")).faults


def test_a_duplicate_key_is_found_at_its_second_place() -> None:
    (fault,) = judged('{"a": {"b": 1,\n "c": 2, "b": 3}}')
    assert fault.code is Code.DUPLICATE_KEY
    assert fault.place.pointer == "/a/b"
    assert fault.place.span is not None
    assert (fault.place.span.line, fault.place.span.column) == (2, 10)
    (note,) = fault.notes
    assert note.place.span is not None
    assert (note.place.span.line, note.place.span.column) == (1, 8)


def test_the_same_name_in_two_objects_is_no_duplicate() -> None:
    assert judged('[{"a": 1}, {"a": 1}, {"b": {"a": 1}}]') == ()


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert judged(r'["\ud83d\ude00"]') == ()


def test_a_hundred_thousand_items_are_walked_within_seconds() -> None:
    items = ",\n".join(
        f'{{"host": "10.0.{index >> 8 & 255}.{index & 255}", "port": {index}}}' for index in range(100_000)
    )
    found = walk(f"[{items}]", ["/99999/port"])
    start, end = found.values["/99999/port"]
    assert f"[{items}]"[start:end] == "99999"


def test_a_document_at_the_depth_limit_is_read() -> None:
    assert read("x", b"[" * 128 + b"]" * 128).readable
    assert not read("x", b"[" * 129 + b"]" * 129).readable
