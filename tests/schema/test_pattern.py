"""The patterns of names, against ``re``, which they must agree with, and against what keeps ``re`` busy for ever."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tng_schema.pattern import MOST_STATES, Pattern, PatternError

NAMES = st.text("ab.-1", max_size=12)
ATOMS = st.sampled_from(["a", "B", r"\.", ".", "[ab]", "[^a.]", "[a-b1]", r"\d", r"\W", "-", "[A-b]", r"[\d.-]"])
PARTS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.lists(inner, min_size=1, max_size=3).map(lambda all_: f"(?:{'|'.join(all_)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,2}", "{1,}", "*?"])).map(
            lambda pair: f"({pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=8,
)
PATTERNS = st.tuples(st.sampled_from(["", "^"]), PARTS, st.sampled_from(["", "$"])).map("".join)


@settings(max_examples=150)
@given(PATTERNS, NAMES)
def test_they_find_what_re_finds(text: str, name: str) -> None:
    assert Pattern(text).found_in(name) is bool(re.search(text, name, re.IGNORECASE | re.ASCII))


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("", "", True),
        ("xample", "app.example.com", True),
        (r"^(?:.*\.)?example\.com$", "EXAMPLE.com", True),
        (r"^(?:.*\.)?example\.com$", "badexample.com", False),
        (r"\Aa\z", "ab", False),
        ("a|", "zzz", True),
        ("[]a]", "a", True),
        ("[a-]", "-", True),
    ],
)
def test_examples(text: str, name: str, found: bool) -> None:
    assert Pattern(text).found_in(name) is found


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("(", 0),
        ("a)", 1),
        ("[a", 0),
        ("[[:alpha:]]", 0),
        ("*a", 0),
        ("a**", 2),
        ("^*", 1),
        ("a{2", 1),
        ("a{9999}", 1),
        ("a{3,2}", 1),
        ("[b-a]", 0),
        (r"\b", 0),
        (r"(a)\1", 3),
        ("(?i)a", 0),
        ("(?=a)", 0),
        ("a\\", 1),
        ("(((a{200}){200}){200})", 0),
        ("(" * 60 + ")" * 60, 50),
    ],
)
def test_what_is_not_read_is_an_error_with_its_place(text: str, position: int) -> None:
    with pytest.raises(PatternError) as caught:
        Pattern(text)
    assert caught.value.position == position


@pytest.mark.parametrize("text", ["(a+)+$", "(a|a)*$", "(.*)*b", "a?" * 90 + "a" * 90 + "$", "(.{0,9}){0,12}b$"])
def test_no_name_keeps_them_busy(text: str) -> None:
    began = time.process_time()
    Pattern(text).found_in("a" * 254 + "!")
    assert time.process_time() - began < 2, f"at most {MOST_STATES} states times 255 characters"
