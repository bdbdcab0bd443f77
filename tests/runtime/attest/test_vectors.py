"""Real tokens of TDX machines: each holds at its time under its CA, under no other CA, and with no byte altered.

The tokens are not part of the project; where ``../shared/vectors`` (beside the repository) is absent these tests are
skipped and say so, unless ``TNG_REQUIRE_VECTORS`` is set, which turns the skip into a failure.
"""

from __future__ import annotations

import base64
import json
import os
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tng_runtime.attest.anchors import TrustAnchors, read_anchors
from tng_runtime.attest.codes import Code
from tng_runtime.attest.token import TokenRules, verify_token
from tng_runtime.errors import Refused

DIRECTORY = Path(__file__).resolve().parents[3].parent / "shared" / "vectors"
NAMES = ("ear", "ear_with_additional_device", "simple")
RULES = TokenRules(("default",))

pytestmark = pytest.mark.skipif(
    not DIRECTORY.is_dir() and "TNG_REQUIRE_VECTORS" not in os.environ,
    reason=f"NOT TESTED: real TDX tokens; {DIRECTORY} is absent",
)


@dataclass(frozen=True)
class Vector:
    """A token with its CA, its claims and its time of issue."""

    token: str
    anchors: TrustAnchors
    claims: dict[str, Any]
    issued: datetime


@cache
def vector(name: str) -> Vector:
    """Read a vector; the claims are taken from the token itself, because they are no pubkey-hash."""
    token = (DIRECTORY / f"{name}.jwt").read_text(encoding="ascii")
    body = token.split(".")[1]
    payload = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    issued = datetime.fromtimestamp(payload["iat"], UTC)
    if "submods" in payload:
        claims = payload["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["runtime_data_claims"]
    else:
        claims = payload["customized_claims"]["runtime_data"]
    return Vector(token, read_anchors((DIRECTORY / f"{name}.as-ca.pem").read_bytes(), issued), claims, issued)


@pytest.mark.parametrize("name", NAMES)
def test_real_token_holds_at_its_time_under_its_ca(name: str) -> None:
    """Policy and end are the token's."""
    real = vector(name)
    verdict = verify_token(real.token, real.anchors, RULES, real.claims, real.issued)
    assert verdict.policy_ids == ("default",)
    assert verdict.expires_at == real.issued + timedelta(seconds=300)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("other", NAMES)
def test_real_token_does_not_hold_under_another_ca(name: str, other: str) -> None:
    """The CAs share their name, so only the signatures tell them apart."""
    real = vector(name)
    if name == other:
        verify_token(real.token, vector(other).anchors, RULES, real.claims, real.issued)
        return
    with pytest.raises(Refused) as refusal:
        verify_token(real.token, vector(other).anchors, RULES, real.claims, real.issued)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED


@pytest.mark.parametrize("name", NAMES)
def test_real_token_ends(name: str) -> None:
    """With the leeway of five seconds, and not a moment later."""
    real = vector(name)
    ends = real.issued + timedelta(seconds=305)
    verify_token(real.token, real.anchors, RULES, real.claims, ends - timedelta(microseconds=1))
    with pytest.raises(Refused) as refusal:
        verify_token(real.token, real.anchors, RULES, real.claims, ends)
    assert refusal.value.code == Code.TOKEN_TIME


@pytest.mark.parametrize("name", NAMES)
def test_real_token_has_other_claims_than_those_of_a_stranger(name: str) -> None:
    """One claim more, or one of another value, is not vouched for."""
    real = vector(name)
    for claims in ({**real.claims, "pubkey-hash": "x"}, {**real.claims, "challenge_token": "x"}):
        with pytest.raises(Refused) as refusal:
            verify_token(real.token, real.anchors, RULES, claims, real.issued)
        assert refusal.value.code == Code.TOKEN_CLAIMS


def assert_refused_when_altered(real: Vector, position: int, replacement: int) -> None:
    """The token with one byte replaced must be refused."""
    altered = bytearray(real.token.encode("ascii"))
    altered[position] = replacement
    with pytest.raises(Refused) as refusal:
        verify_token(bytes(altered), real.anchors, RULES, real.claims, real.issued)
    assert refusal.value.code.startswith("RA-TOKEN-")


@pytest.mark.parametrize("name", NAMES)
def test_real_token_is_refused_with_a_bit_flipped(name: str) -> None:
    """Sampled evenly, with every byte of both ends and around the dots, each by its lowest bit and by one at random."""
    real = vector(name)
    size = len(real.token)
    dots = [position for position, character in enumerate(real.token) if character == "."]
    near = {at for dot in dots for at in range(dot - 4, dot + 5)}
    positions = sorted({*range(16), *range(size - 96, size), *near, *range(0, size, 331)})
    choices = random.Random(name)
    for position in positions:
        for bit in {0, choices.randrange(8)}:
            assert_refused_when_altered(real, position, ord(real.token[position]) ^ 1 << bit)


@pytest.mark.parametrize("name", NAMES)
def test_real_token_is_refused_with_another_last_character(name: str) -> None:
    """Its unused bits would let four or sixteen spellings pass a lax decoder."""
    real = vector(name)
    for replacement in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=":
        if chr(replacement) != real.token[-1]:
            assert_refused_when_altered(real, len(real.token) - 1, replacement)


@settings(max_examples=60, derandomize=True)
@given(name=st.sampled_from(NAMES), data=st.data())
def test_real_token_is_refused_with_any_byte_replaced(name: str, data: st.DataObject) -> None:
    """Any position, any other byte."""
    real = vector(name)
    position = data.draw(st.integers(0, len(real.token) - 1))
    replacement = data.draw(st.integers(0, 255).filter(lambda byte: byte != ord(real.token[position])))
    assert_refused_when_altered(real, position, replacement)
