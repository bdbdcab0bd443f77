"""The negative catalogue of certificates and evidence: what a hostile peer may show, and the code that it earns.

Ids start with the number of the catalogue (13 to 35); each is data, so that others can be added by one line. Every case
differs from the honest one, which the first test accepts, in one point only.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes

from runtime.attest import makers
from runtime.attest.makers import NOW, Authority, ec_key, rsa_key
from tng_runtime.attest import cbor
from tng_runtime.attest.certificate import MAX_CERTIFICATE_BYTES
from tng_runtime.attest.codes import Code
from tng_runtime.attest.verdict import Rules, examine
from tng_runtime.errors import Refused

OTHER = ec_key("other")
BACKGROUND = Rules("background_check", (makers.POLICY,))
PASSPORT = Rules("passport", (makers.POLICY,))
Chain = Callable[[], list[bytes]]


def evidence(**changed: bytes) -> list[bytes]:
    """A chain of one certificate, honest but for members of its evidence."""
    return [makers.peer_certificate(makers.fields_value(**changed))]


def additional(count: int) -> bytes:
    """Additional evidence of so many TEEs."""
    return json.dumps({format(number, "x"): 0 for number in range(count)}, separators=(",", ":")).encode()


def runtime_text(text: str) -> list[bytes]:
    """A chain of one certificate whose runtime data is this text."""
    return evidence(aa_runtime_data=cbor.text(text))


def value(extension: bytes) -> list[bytes]:
    """A chain of one certificate whose evidence extension is exactly these bytes."""
    return [makers.peer_certificate(extension)]


def honest(**oddities: Any) -> list[bytes]:
    """A chain of one certificate with honest evidence."""
    return [makers.peer_certificate(makers.fields_value(), **oddities)]


def inner(cbor_map: bytes) -> list[bytes]:
    """A chain of one certificate whose evidence is this CBOR instead of the map."""
    return value(makers.evidence_value(cbor_map))


def with_rsa(key_bits: int, digest: hashes.HashAlgorithm | None = None, last_arc: int = 11) -> list[bytes]:
    """A chain of one RSA certificate, signed again if a digest is given."""
    key = rsa_key(key_bits)
    extension = makers.evidence_value(cbor.text_map(makers.honest_fields(key)))
    original = makers.peer_certificate(extension, key)
    return [original if digest is None else makers.rsa_signed(original, key, digest, last_arc)]


def doubled_evidence() -> list[bytes]:
    """A certificate in which the evidence extension occurs twice, which no builder makes."""

    def twice(tbs: list[bytes]) -> list[bytes]:
        [extensions] = makers.elements(makers.inside(tbs[-1]))
        items = makers.elements(makers.inside(extensions))
        return [*tbs[:-1], makers.tlv(0xA3, makers.tlv(0x30, b"".join([*items, items[-1]])))]

    return [makers.rebuilt(honest()[0], ec_key(), twice)]


def broken_signature() -> list[bytes]:
    """The last byte of the certificate's signature is another one."""
    [der] = honest()
    return [der[:-1] + bytes([der[-1] ^ 1])]


def foreign_issuer() -> list[bytes]:
    """Issuer and subject differ, the signature is the certificate's own."""
    return honest(issuer="somebody", issuer_key=ec_key())


def runtime_json(hash_text: str) -> str:
    """Runtime data with this hash."""
    return json.dumps({"pubkey-hash": hash_text}, separators=(",", ":"))


MINE = makers.expected_claims()["pubkey-hash"]
FIELDS = makers.honest_fields()
DAY = timedelta(days=1)

CERTIFICATES: list[tuple[str, Code, Chain]] = [
    ("h14_evidence_only_in_the_second_certificate", Code.CERT_CHAIN,
     lambda: [makers.peer_certificate(None), *honest()]),
    ("h13_larger_than_the_cap", Code.CERT_SIZE,
     lambda: evidence(aa_evidence=cbor.byte_string(bytes(MAX_CERTIFICATE_BYTES)))),
    ("h16_no_evidence_extension", Code.CERT_NO_EVIDENCE, lambda: [makers.peer_certificate(None)]),
    ("h17_two_evidence_extensions", Code.CERT_EVIDENCE_TWICE, doubled_evidence),
    ("h18_an_unknown_critical_extension", Code.CERT_CRITICAL, lambda: honest(extensions=[makers.unknown(True)])),
    ("h18_a_ca_certificate", Code.CERT_CRITICAL, lambda: honest(extensions=[makers.CA])),
    ("h18_a_key_that_may_not_sign", Code.CERT_CRITICAL,
     lambda: honest(extensions=[(makers.usage(key_agreement=True), True)])),
    ("h19_not_after_passed", Code.CERT_DATES, lambda: honest(end=NOW - timedelta(seconds=1))),
    ("h19_not_before_ahead", Code.CERT_DATES, lambda: honest(begin=NOW + timedelta(seconds=6))),
    ("h19_a_ten_year_life", Code.CERT_DATES, lambda: honest(end=NOW + 3650 * DAY)),
    ("h19_a_life_of_a_day_and_a_second", Code.CERT_DATES,
     lambda: honest(begin=NOW - timedelta(seconds=1), end=NOW + DAY)),
    ("h20_a_broken_self_signature", Code.CERT_SELF_SIGNED, broken_signature),
    ("h20_issuer_is_not_subject", Code.CERT_SELF_SIGNED, foreign_issuer),
    ("h20_signed_by_another_key", Code.CERT_SELF_SIGNED, lambda: honest(issuer_key=OTHER)),
    ("h21_md5", Code.CERT_ALGORITHM, lambda: with_rsa(2048, hashes.MD5(), 4)),
    ("h21_sha1", Code.CERT_ALGORITHM, lambda: with_rsa(2048, hashes.SHA1(), 5)),
    ("h21_rsa_1024", Code.CERT_ALGORITHM, lambda: with_rsa(1024)),
    ("h21_an_unsupported_curve", Code.CERT_ALGORITHM, lambda: honest(key=ec_key("koblitz", "secp256k1"))),
    ("h22_evidence_of_another_certificate", Code.KEY_BINDING, lambda: honest(key=OTHER)),
    ("h23_bytes_after_the_der", Code.CERT_FORM, lambda: [honest()[0] + b"\0"]),
    ("h23_bytes_after_the_extension", Code.EVIDENCE_FORM, lambda: value(makers.fields_value() + b"\0")),
    ("h23_bytes_after_the_inner_map", Code.EVIDENCE_FORM, lambda: inner(cbor.text_map(FIELDS) + b"\0")),
    ("h24_token_where_evidence_is_due", Code.EVIDENCE_MODEL,
     lambda: value(makers.evidence_value(Authority().token(makers.ear()).encode(), 0xC0C001))),
    ("h25_tag_60000", Code.EVIDENCE_TAG, lambda: value(makers.evidence_value(cbor.text_map(FIELDS), 60000))),
    ("h25_an_unknown_tag", Code.EVIDENCE_TAG, lambda: value(makers.evidence_value(cbor.text_map(FIELDS), 0xC0C002))),
    ("h25_no_tag", Code.EVIDENCE_FORM, lambda: value(makers.fields_value()[5:])),
    ("h25_a_tag_in_a_longer_head", Code.EVIDENCE_FORM,
     lambda: value(b"\xdb" + (0xC0C000).to_bytes(8, "big") + makers.fields_value()[5:])),
    ("h26_not_an_array", Code.EVIDENCE_FORM, lambda: value(cbor.tagged(0xC0C000, cbor.text_map(FIELDS)))),
    ("h26_one_item", Code.EVIDENCE_FORM,
     lambda: value(cbor.tagged(0xC0C000, cbor.array(cbor.byte_string(cbor.text_map(FIELDS)))))),
    ("h26_three_items", Code.EVIDENCE_FORM,
     lambda: value(cbor.tagged(0xC0C000, cbor.array(cbor.byte_string(cbor.text_map(FIELDS)), *2 * [b"\x40"])))),
    ("h26_the_second_item_not_empty", Code.EVIDENCE_FORM,
     lambda: value(cbor.tagged(0xC0C000, cbor.array(cbor.byte_string(cbor.text_map(FIELDS)), b"\x41\x00")))),
    ("h26_an_array_of_indefinite_length", Code.EVIDENCE_FORM,
     lambda: value(cbor.tagged(0xC0C000, b"\x9f" + makers.fields_value()[6:] + b"\xff"))),
    ("h26_bytes_of_indefinite_length", Code.EVIDENCE_FORM,
     lambda: value(cbor.tagged(0xC0C000, b"\x82\x5f\x41\x00\xff\x40"))),
    ("h26_a_depth_of_10000", Code.EVIDENCE_FORM, lambda: value(cbor.tagged(0xC0C000, b"\x82" * 10_000))),
    ("h26_a_length_of_2_to_the_40", Code.EVIDENCE_FORM,
     lambda: value(cbor.tagged(0xC0C000, b"\x82\x5b" + (1 << 40).to_bytes(8, "big")))),
    ("h26_a_map_of_2_to_the_40", Code.EVIDENCE_FORM, lambda: inner(b"\xbb" + (1 << 40).to_bytes(8, "big"))),
    ("h26_nothing", Code.EVIDENCE_FORM, lambda: value(b"")),
    ("h27_duplicate_map_keys", Code.EVIDENCE_FORM,
     lambda: inner(b"\xa5" + 5 * (cbor.text("tee_type") + cbor.text("sample")))),
    ("h27_an_unknown_map_key", Code.EVIDENCE_FORM,
     lambda: inner(cbor.text_map({"nonce": b"\x40", **{key: FIELDS[key] for key in list(FIELDS)[1:]}}))),
    ("h27_a_missing_map_key", Code.EVIDENCE_FORM,
     lambda: inner(cbor.text_map({key: FIELDS[key] for key in list(FIELDS)[1:]}))),
    ("h27_text_for_bytes", Code.EVIDENCE_FORM, lambda: evidence(aa_evidence=cbor.text("{}"))),
    ("h27_bytes_for_text", Code.EVIDENCE_FORM, lambda: evidence(tee_type=cbor.byte_string(b"sample"))),
    ("h27_text_that_is_not_utf_8", Code.EVIDENCE_FORM, lambda: evidence(tee_type=b"\x61\xff")),
    ("h28_hash_algorithm_0", Code.EVIDENCE_HASH, lambda: evidence(aa_runtime_data_hash_algo=cbor.uint(0))),
    ("h28_hash_algorithm_2", Code.EVIDENCE_HASH, lambda: evidence(aa_runtime_data_hash_algo=cbor.uint(2))),
    ("h28_hash_algorithm_99", Code.EVIDENCE_HASH, lambda: evidence(aa_runtime_data_hash_algo=cbor.uint(99))),
    ("h29_no_pubkey_hash", Code.RUNTIME_DATA_CLAIMS, lambda: runtime_text("{}")),
    ("h29_pubkey_hash_is_a_list", Code.RUNTIME_DATA_CLAIMS, lambda: runtime_text(f'{{"pubkey-hash":["{MINE}"]}}')),
    ("h29_pubkey_hash_is_null", Code.RUNTIME_DATA_CLAIMS, lambda: runtime_text('{"pubkey-hash":null}')),
    ("h29_an_array", Code.RUNTIME_DATA_CLAIMS, lambda: runtime_text(f'["{MINE}"]')),
    ("h29_another_copy_beside_it", Code.RUNTIME_DATA_CLAIMS,
     lambda: runtime_text(f'{{"pubkey-hash":"{MINE}","x":{{"pubkey-hash":"{MINE}"}}}}')),
    ("h29_the_hash_in_another_spelling", Code.KEY_BINDING,
     lambda: runtime_text(runtime_json(base64.b16encode(base64.b64decode(MINE)).decode()))),
    ("h30_not_json", Code.RUNTIME_DATA_FORM, lambda: runtime_text(MINE)),
    ("h30_a_space", Code.RUNTIME_DATA_FORM, lambda: runtime_text(f'{{"pubkey-hash": "{MINE}"}}')),
    ("h30_an_escaped_character", Code.RUNTIME_DATA_FORM,
     lambda: runtime_text(f'{{"pubkey\\u002dhash":"{MINE}"}}')),
    ("h30_duplicate_keys", Code.RUNTIME_DATA_FORM,
     lambda: runtime_text(f'{{"pubkey-hash":"{MINE}","pubkey-hash":"{MINE}"}}')),
    ("h30_nan", Code.RUNTIME_DATA_FORM, lambda: runtime_text(f'{{"a":NaN,"pubkey-hash":"{MINE}"}}')),
    ("h30_nested_very_deep", Code.RUNTIME_DATA_FORM, lambda: runtime_text("[" * 1000)),
    ("h30_very_long", Code.RUNTIME_DATA_FORM, lambda: runtime_text("[" * 100_000)),
    ("h31_additional_evidence_is_a_list", Code.EVIDENCE_ADDITIONAL,
     lambda: evidence(aa_additional_evidence=cbor.byte_string(b"[]"))),
    ("h31_additional_evidence_is_a_text", Code.EVIDENCE_FORM,
     lambda: evidence(aa_additional_evidence=cbor.text("{}"))),
    ("h31_additional_evidence_is_not_json", Code.EVIDENCE_ADDITIONAL,
     lambda: evidence(aa_additional_evidence=cbor.byte_string(b"\xff"))),
    ("h123_additional_evidence_of_17_tees", Code.EVIDENCE_ADDITIONAL,
     lambda: evidence(aa_additional_evidence=cbor.byte_string(additional(17)))),
    ("h123_additional_evidence_of_110_001_tees", Code.EVIDENCE_ADDITIONAL,
     lambda: evidence(aa_additional_evidence=cbor.byte_string(additional(110_001)))),
    ("h31_additional_evidence_of_no_tee", Code.EVIDENCE_ADDITIONAL,
     lambda: evidence(aa_additional_evidence=cbor.byte_string(b'{"":{}}'))),
    ("h34_evidence_of_an_honest_peer_replayed_with_another_key", Code.KEY_BINDING, lambda: honest(key=OTHER)),
    ("h35_a_tee_name_with_quotes", Code.EVIDENCE_FORM, lambda: evidence(tee_type=cbor.text('sample","x":"'))),
    ("h35_an_empty_tee_name", Code.EVIDENCE_FORM, lambda: evidence(tee_type=cbor.text(""))),
]  # fmt: skip


def test_examine_accepts_the_honest_peer() -> None:
    """The control of the catalogue: without an oddity nothing is refused."""
    presented = examine(honest(), BACKGROUND, NOW)
    assert presented.evidence == makers.honest_evidence()
    assert presented.not_after == NOW + makers.HOUR


@pytest.mark.parametrize(("code", "chain"), [pytest.param(*case[1:], id=case[0]) for case in CERTIFICATES])
def test_examine_refuses(code: Code, chain: Chain) -> None:
    """A certificate of the catalogue ends with its code."""
    with pytest.raises(Refused) as refusal:
        examine(chain(), BACKGROUND, NOW)
    assert refusal.value.code == code, refusal.value.detail


def test_h24_evidence_where_a_token_is_due() -> None:
    """In passport, evidence is no token."""
    with pytest.raises(Refused) as refusal:
        examine(honest(), PASSPORT, NOW)
    assert refusal.value.code == Code.EVIDENCE_MODEL


def test_catalogue_ids_are_unique() -> None:
    """Ids are stable names, so none may be used twice."""
    ids = [case[0] for case in CERTIFICATES]
    assert len(set(ids)) == len(ids)
