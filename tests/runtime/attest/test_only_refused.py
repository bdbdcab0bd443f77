"""For any bytes whatever only ``Refused``, with one of the codes, leaves the parsing and verification.

Bytes at random die at the first check, so most are honest ones with a few places changed, which get further in; the
coverage-guided run of ``tests/fuzz`` goes further still, over the same entries.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from fuzz.entries import ENTRIES, SEEDS
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with up to four places overwritten, removed, or filled with something that parsers stumble over."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        removed = draw(st.integers(0, 4))
        data[at : at + removed] = draw(st.binary(max_size=4) | st.sampled_from(ODDITIES))
    return bytes(data)


CODES = {code.value for code in Code}
ODDITIES = [
    b"\x00",
    b"\xff",
    b"\x80",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x5b" + b"\xff" * 8,
    b'"',
    b"\\ud800",
    b".",
    b"=",
    b"[" * 80,
]


def check(entry: Callable[[bytes], None], data: bytes) -> None:
    """Nothing but a refusal with a code of ours may come out."""
    code = None
    try:
        entry(data)
    except Refused as refusal:
        code = refusal.code
    assert code is None or code in CODES
    event(str(code))


@pytest.mark.parametrize("name", ENTRIES)
def test_honest_seeds_are_accepted(name: str) -> None:
    """Else the mutations would all die at the same check."""
    for seed in SEEDS[name]:
        ENTRIES[name](seed)


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=80, derandomize=True)
@given(data=st.binary(max_size=400))
def test_any_bytes_are_refused_or_read(name: str, data: bytes) -> None:
    """Bytes at random."""
    check(ENTRIES[name], data)


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=200, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_altered_honest_bytes_are_refused_or_read(name: str, data: st.DataObject) -> None:
    """Honest bytes with places changed."""
    check(ENTRIES[name], data.draw(mutated(SEEDS[name])))
