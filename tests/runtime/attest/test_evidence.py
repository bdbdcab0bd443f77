"""Evidence goes through the extension's value unchanged, and is bound to one key."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.attest import makers
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import (
    CocoEvidence,
    CocoToken,
    HashAlgorithm,
    additional_evidence,
    decode,
    encode,
    report_data,
    runtime_claims,
    runtime_data,
)
from tng_runtime.errors import Refused

KEY = bytes(range(32))
EVIDENCE = CocoEvidence("tdx", b"\x00quote", b'{"nvidia":{"a":1}}', runtime_data(KEY))


def test_runtime_data_is_canonical_json_of_the_key() -> None:
    """The protocol's words, by another library."""
    [(name, value)] = json.loads(runtime_data(KEY)).items()
    assert name == "pubkey-hash"
    assert cbor2.loads(base64.b64decode(value)) == [1, KEY]
    assert runtime_data(KEY) == f'{{"pubkey-hash":"{value}"}}'
    assert runtime_claims(KEY) == {name: value}


def test_report_data_is_the_raw_hash() -> None:
    """Forty-eight bytes by default."""
    text = runtime_data(KEY)
    assert report_data(text) == hashlib.sha384(text.encode()).digest()
    assert report_data(text, HashAlgorithm.SHA256) == hashlib.sha256(text.encode()).digest()
    assert report_data(text, HashAlgorithm.SHA512) == hashlib.sha512(text.encode()).digest()


def test_the_value_is_what_the_protocol_says() -> None:
    """A tag around an array around a map, by another library."""
    value = cbor2.loads(encode(EVIDENCE))
    assert value.tag == 0xC0C000
    inner, empty = value.value
    assert empty == b""
    assert cbor2.loads(inner) == {
        "tee_type": "tdx",
        "aa_evidence": b"\x00quote",
        "aa_additional_evidence": b'{"nvidia":{"a":1}}',
        "aa_runtime_data": runtime_data(KEY),
        "aa_runtime_data_hash_algo": 7,
    }
    token = cbor2.loads(encode(CocoToken("a.b.c")))
    assert (token.tag, list(token.value)) == (0xC0C001, [b"a.b.c", b""])


@given(
    st.sampled_from(["sample", "tdx", "az-snp-vtpm"]),
    st.binary(max_size=200),
    st.sampled_from([None, b"{}", b'{"sampledevice":"x"}']),
    st.sampled_from(HashAlgorithm),
)
def test_evidence_survives_the_way(tee: str, blob: bytes, additional: bytes | None, algorithm: HashAlgorithm) -> None:
    """Decode is the inverse of encode."""
    evidence = CocoEvidence(tee, blob, additional, runtime_data(KEY), algorithm)
    assert decode(encode(evidence), KEY) == evidence
    assert decode(encode(CocoToken("a.b.c")), KEY) == CocoToken("a.b.c")


def test_evidence_of_another_key_is_refused() -> None:
    """The runtime data is compared whole."""
    with pytest.raises(Refused) as refusal:
        decode(encode(EVIDENCE), bytes(32))
    assert refusal.value.code == Code.KEY_BINDING


def test_a_token_that_is_not_ascii_is_refused() -> None:
    """A JWT has no other characters."""
    with pytest.raises(Refused) as refusal:
        decode(makers.evidence_value(b"\xc3\xa9", 0xC0C001), KEY)
    assert refusal.value.code == Code.TOKEN_FORM


@pytest.mark.parametrize("tee", ["", "a" * 33, "t dx", 't"', "\u00e9"])
def test_names_that_no_tee_has_are_refused(tee: str) -> None:
    """They end up in requests and logs."""
    with pytest.raises(Refused) as refusal:
        decode(encode(replace(EVIDENCE, tee=tee)), KEY)
    assert refusal.value.code == Code.EVIDENCE_FORM


def test_additional_evidence_is_read_by_tee() -> None:
    """In the order of the document."""
    assert list(additional_evidence(b'{"nvidia":{"a":1},"sampledevice":"x"}').items()) == [
        ("nvidia", {"a": 1}),
        ("sampledevice", "x"),
    ]
