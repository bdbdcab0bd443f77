"""Every value has one spelling."""

from __future__ import annotations

import base64

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tng_runtime.attest.base64_strict import decode_either, decode_url
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused


@given(st.binary(max_size=100))
def test_both_forms_are_read(data: bytes) -> None:
    """base64url without padding by both, standard base64 by one."""
    url = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    assert decode_url(url, Code.TOKEN_FORM, "it") == data
    assert decode_either(url, Code.TOKEN_FORM, "it") == data
    assert decode_either(base64.b64encode(data).decode(), Code.TOKEN_FORM, "it") == data


@given(st.text(alphabet="ABab01+/-_= \n\u00e9", max_size=12))
def test_nothing_but_the_one_spelling_is_read(text: str) -> None:
    """Whatever decodes, encodes to the same text again."""
    try:
        data = decode_url(text, Code.TOKEN_FORM, "it")
    except Refused:
        event("refused")
        return
    assert base64.urlsafe_b64encode(data).rstrip(b"=").decode() == text


@pytest.mark.parametrize("text", ["A", "AB", "AAA=", "AA==", "A+AA", "AA A", "\u0661AAA"])
def test_decode_url_refuses(text: str) -> None:
    """Half a byte, unused bits, padding, the other alphabet, white space, foreign digits."""
    with pytest.raises(Refused):
        decode_url(text, Code.TOKEN_FORM, "it")


@pytest.mark.parametrize("text", ["A+_A", "AB==", "AA=", "+A"])
def test_decode_either_refuses_mixtures(text: str) -> None:
    """Both alphabets at once, unused bits, half the padding, none."""
    with pytest.raises(Refused):
        decode_either(text, Code.TOKEN_FORM, "it")
