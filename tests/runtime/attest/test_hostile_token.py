"""The negative catalogue of tokens: what a hostile service, peer or man in the middle may send, and the code that it
earns.

Ids start with the number of the catalogue (39 to 57, and 114); each is data, so that others can be added by one line.
Every case differs from the honest one, which the first test accepts, in one point only, and runs in both models.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from runtime.attest import makers
from runtime.attest.makers import NOW, Authority, cpu, ear, ec_key, rsa_key, simple
from tng_demo.sample_authority import b64url
from tng_runtime.attest.certificate import MAX_CERTIFICATE_BYTES
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import runtime_data
from tng_runtime.attest.jws import MAX_TOKEN_BYTES
from tng_runtime.attest.verdict import Rules, conclude, examine
from tng_runtime.errors import Refused

HONEST = Authority()
OTHER = ec_key("other")
BACKGROUND = Rules("background_check", (makers.POLICY,))
PASSPORT = Rules("passport", (makers.POLICY,))
Token = Callable[[], str]


def honest_chain() -> list[bytes]:
    """A peer with honest evidence."""
    return [makers.peer_certificate(makers.fields_value())]


def header_jwk(**changed: object) -> str:
    """An honest token but for members of its ``jwk``; None leaves one out."""
    jwk = {key: item for key, item in {**HONEST.header()["jwk"], **changed}.items() if item is not None}
    return HONEST.token(ear(), jwk=jwk)


def with_chain(*chain: x509.Certificate) -> str:
    """An honest token with another chain."""
    return header_jwk(x5c=makers.x5c(makers.der(item) for item in chain))


def leaf_with(*extensions: tuple[x509.ExtensionType, bool]) -> str:
    """An honest token, signed with the key of a leaf that has these extensions."""
    return with_chain(HONEST.leaf(extensions=extensions), HONEST.root)


def under(authority: x509.Certificate) -> tuple[x509.Certificate, ...]:
    """A signer below an intermediate of the honest root: leaf, intermediate."""
    leaf = makers.certificate("signer", ec_key("signer"), "middle", ec_key("middle"))
    return leaf, authority


def intermediate(*extensions: tuple[x509.ExtensionType, bool]) -> x509.Certificate:
    """A certificate of the honest root for the key of the intermediate."""
    return makers.certificate("middle", ec_key("middle"), "root", ec_key("root"), extensions=extensions)


def parts(edit: Callable[[str, str, str], str]) -> str:
    """An honest token put together differently."""
    head, body, signature = HONEST.token(ear()).split(".")
    return edit(head, body, signature)


def with_signature(make: Callable[[bytes], bytes]) -> str:
    """An honest token with an altered signature."""
    return parts(lambda head, body, old: f"{head}.{body}.{b64url(make(base64.urlsafe_b64decode(old + '==')))}")


def weak_intermediate() -> str:
    """A chain over an RSA-1024 intermediate."""
    weak = makers.certificate("middle", rsa_key(1024), "root", ec_key("root"), extensions=[makers.CA])
    return with_chain(makers.certificate("signer", ec_key("signer"), "middle", rsa_key(1024)), weak)


def sha1_leaf() -> str:
    """A leaf that the CA, one with an RSA key, signed with SHA-1."""
    leaf = makers.der(makers.certificate("signer", ec_key("signer"), "root", rsa_key()))
    return header_jwk(x5c=makers.x5c([makers.rsa_signed(leaf, rsa_key(), hashes.SHA1(), 5)]))


def rsa_token(jwk_alg: str | None = None, **header: object) -> str:
    """A token by an RSA signer whose ``jwk`` names this algorithm, or none."""
    authority = Authority(key=rsa_key(), alg="RS256")
    jwk = {key: item for key, item in {**authority.header()["jwk"], "alg": jwk_alg}.items() if item is not None}
    return authority.token(ear(), jwk=jwk, **header)


def hmac_confusion() -> str:
    """HS256 keyed with the public key: what a verifier that lets the header choose would accept."""
    header = {**HONEST.header(), "alg": "HS256"}
    header["jwk"] = {**header["jwk"], "alg": "HS256"}
    body = ".".join(b64url(json.dumps(part).encode()) for part in (header, ear()))
    public = ec_key("signer").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{body}.{b64url(hmac.new(public, body.encode(), hashlib.sha256).digest())}"


def submods(**others: object) -> str:
    """A token whose submods are ``cpu0`` and these."""
    return HONEST.token(ear(submods={"cpu0": cpu(), **others}))


def odd_cpu(**changed: object) -> str:
    """A token whose ``cpu0`` is odd."""
    return HONEST.token(ear(submods={"cpu0": cpu(**changed)}))


def claims_of_cpu(claims: object) -> str:
    """A token whose ``cpu0`` has these runtime data claims."""
    return HONEST.token(ear(submods={"cpu0": makers.annotated(claims)}))


def reports(*items: object) -> str:
    """A simple token with these evaluation reports."""
    return HONEST.token(simple(**{"evaluation-reports": list(items)}))


REPORT = {"policy-id": makers.POLICY}
SECONDS = int(NOW.timestamp())
OTHER_CLAIMS = {"pubkey-hash": json.loads(runtime_data(makers.spki_digest(OTHER)))["pubkey-hash"]}

TOKENS: list[tuple[str, Code, Token]] = [
    ("h39_alg_none", Code.TOKEN_ALGORITHM,
     lambda: HONEST.token(ear(), alg="none").rsplit(".", 1)[0] + "."),
    ("h39_alg_none_in_header_and_jwk", Code.TOKEN_ALGORITHM,
     lambda: HONEST.token(ear(), alg="none", jwk={**HONEST.header()["jwk"], "alg": "none"})),
    ("h39_hs256_keyed_with_the_public_key", Code.TOKEN_ALGORITHM, hmac_confusion),
    ("h40_header_alg_differs_from_the_jwk", Code.TOKEN_ALGORITHM, lambda: HONEST.token(ear(), alg="ES384")),
    ("h40_header_alg_differs_from_the_key", Code.TOKEN_ALGORITHM,
     lambda: HONEST.token(ear(), alg="ES384", jwk={**HONEST.header()["jwk"], "alg": "ES384"})),
    ("h40_an_rsa_alg_for_an_ec_key", Code.TOKEN_ALGORITHM,
     lambda: HONEST.token(ear(), alg="RS256", jwk={**HONEST.header()["jwk"], "alg": None})),
    ("h40_an_ec_alg_for_an_rsa_key", Code.TOKEN_ALGORITHM,
     lambda: rsa_token(alg="ES256")),
    ("h40_rs1", Code.TOKEN_ALGORITHM,
     lambda: rsa_token(alg="RS1")),
    ("h40_the_jwk_is_for_another_rsa_alg", Code.TOKEN_ALGORITHM, lambda: rsa_token("RS512")),
    ("h40_no_alg", Code.TOKEN_ALGORITHM, lambda: HONEST.token(ear(), alg=None)),
    ("h41_no_x5c", Code.TOKEN_CHAIN, lambda: header_jwk(x5c=None)),
    ("h41_no_jwk", Code.TOKEN_KEY, lambda: HONEST.token(ear(), jwk=None)),
    ("h41_an_empty_x5c", Code.TOKEN_CHAIN, lambda: header_jwk(x5c=[])),
    ("h41_x5c_of_nine", Code.TOKEN_CHAIN, lambda: header_jwk(x5c=9 * makers.x5c([makers.der(HONEST.root)]))),
    ("h41_x5c_of_numbers", Code.TOKEN_CHAIN, lambda: header_jwk(x5c=[1])),
    ("h41_x5c_that_is_not_base64", Code.TOKEN_CHAIN, lambda: header_jwk(x5c=["%"])),
    ("h41_x5c_that_is_no_certificate", Code.TOKEN_CHAIN, lambda: header_jwk(x5c=["AAAA"])),
    ("h42_the_leaf_is_not_the_jwk", Code.TOKEN_KEY,
     lambda: makers.signed({**HONEST.header(), "jwk": {**makers.jwk(OTHER), "x5c": makers.x5c(HONEST.x5c)}},
                           ear(), OTHER, "ES256")),
    ("h42_an_octet_key", Code.TOKEN_KEY, lambda: header_jwk(kty="oct", k="AAAA")),
    ("h42_an_unknown_curve", Code.TOKEN_KEY, lambda: header_jwk(crv="secp256k1")),
    ("h42_a_point_off_the_curve", Code.TOKEN_KEY, lambda: header_jwk(x=b64url(bytes(31) + b"\x07"))),
    ("h42_a_coordinate_too_long", Code.TOKEN_KEY, lambda: header_jwk(x=b64url(bytes(33)))),
    ("h42_an_empty_coordinate", Code.TOKEN_KEY, lambda: header_jwk(x="")),
    ("h42_a_weak_rsa_key", Code.TOKEN_KEY, lambda: HONEST.token(ear(), alg="RS256", jwk=makers.jwk(rsa_key(1024)))),
    ("h43_an_unknown_ca", Code.TOKEN_UNTRUSTED, lambda: Authority(root_key=OTHER).token(ear())),
    ("h43_self_signed", Code.TOKEN_UNTRUSTED,
     lambda: with_chain(makers.certificate("signer", ec_key("signer"), extensions=[makers.CA]))),
    ("h43_wrong_order", Code.TOKEN_CHAIN,
     lambda: with_chain(under(intermediate(makers.CA))[0], HONEST.root, intermediate(makers.CA))),
    ("h43_root_first", Code.TOKEN_CHAIN, lambda: with_chain(HONEST.root, HONEST.leaf())),
    ("h43_an_intermediate_that_is_no_ca", Code.TOKEN_CHAIN, lambda: with_chain(*under(intermediate(makers.NOT_CA)))),
    ("h43_an_intermediate_without_constraints", Code.TOKEN_CHAIN, lambda: with_chain(*under(intermediate()))),
    ("h43_an_intermediate_that_may_not_sign_certificates", Code.TOKEN_UNTRUSTED,
     lambda: with_chain(*under(intermediate(makers.CA, (makers.usage(digital_signature=True), True))))),
    ("h43_an_unknown_critical_extension", Code.TOKEN_UNTRUSTED,
     lambda: with_chain(HONEST.leaf(extensions=[makers.unknown(critical=True)]))),
    ("h43_an_expired_leaf", Code.TOKEN_CHAIN, lambda: with_chain(HONEST.leaf(end=NOW - timedelta(seconds=1)))),
    ("h43_a_leaf_ahead", Code.TOKEN_CHAIN, lambda: with_chain(HONEST.leaf(begin=NOW + timedelta(seconds=1)))),
    ("h43_a_weak_leaf", Code.TOKEN_CHAIN,
     lambda: with_chain(makers.certificate("signer", rsa_key(1024), "root", ec_key("root")))),
    ("h43_a_weak_intermediate", Code.TOKEN_CHAIN, weak_intermediate),
    ("h43_a_sha1_leaf", Code.TOKEN_CHAIN, sha1_leaf),
    ("h114_a_web_servers_certificate", Code.TOKEN_CHAIN,
     lambda: leaf_with((makers.usage(key_encipherment=True), True),
                       makers.purposes(ExtendedKeyUsageOID.SERVER_AUTH))),
    ("h114_a_leaf_without_digital_signature", Code.TOKEN_CHAIN,
     lambda: leaf_with((makers.usage(key_encipherment=True, content_commitment=True), False))),
    ("h114_a_leaf_that_signs_certificates_only", Code.TOKEN_CHAIN,
     lambda: leaf_with(makers.CA, (makers.usage(key_cert_sign=True, crl_sign=True), True))),
    ("h114_a_leaf_for_tls", Code.TOKEN_CHAIN,
     lambda: leaf_with((makers.usage(digital_signature=True), True),
                       makers.purposes(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH))),
    ("h114_a_leaf_for_code", Code.TOKEN_CHAIN,
     lambda: leaf_with(makers.purposes(ExtendedKeyUsageOID.CODE_SIGNING))),
    ("h114_a_leaf_for_a_purpose_that_nobody_knows", Code.TOKEN_CHAIN,
     lambda: leaf_with(makers.purposes(makers.UNKNOWN_OID))),
    ("h45_crit", Code.TOKEN_HEADER, lambda: HONEST.token(ear(), crit=["b64"], b64=False)),
    ("h45_an_empty_crit", Code.TOKEN_HEADER, lambda: HONEST.token(ear(), crit=[])),
    ("h45_another_typ", Code.TOKEN_HEADER, lambda: HONEST.token(ear(), typ="at+jwt")),
    ("h45_a_jku_to_a_foreign_key", Code.TOKEN_CHAIN,
     lambda: makers.signed({"alg": "ES256", "jku": "https://example.org/keys", "jwk": makers.jwk(OTHER)},
                           ear(), OTHER, "ES256")),
    ("h46_exp_passed", Code.TOKEN_TIME, lambda: HONEST.token(ear(exp=SECONDS - 5))),
    ("h46_exp_a_string", Code.TOKEN_TIME, lambda: HONEST.token(ear(exp=str(SECONDS + 60)))),
    ("h46_exp_true", Code.TOKEN_TIME, lambda: HONEST.token(ear(exp=True))),
    ("h46_nbf_true", Code.TOKEN_TIME, lambda: HONEST.token(ear(nbf=True))),
    ("h46_exp_a_float", Code.TOKEN_TIME, lambda: HONEST.token(ear(exp=SECONDS + 0.5))),
    ("h46_exp_2_to_the_63", Code.TOKEN_TIME, lambda: HONEST.token(ear(exp=1 << 63))),
    ("h46_exp_negative", Code.TOKEN_TIME, lambda: HONEST.token(ear(exp=-1))),
    ("h46_nbf_ahead", Code.TOKEN_TIME, lambda: HONEST.token(ear(nbf=SECONDS + 6))),
    ("h46_iat_ahead", Code.TOKEN_TIME, lambda: HONEST.token(ear(iat=SECONDS + 6))),
    ("h48_an_unknown_profile", Code.TOKEN_PROFILE, lambda: HONEST.token(ear(eat_profile="tag:example.org,2024:x"))),
    ("h48_a_list_of_profiles", Code.TOKEN_PROFILE, lambda: HONEST.token(ear(eat_profile=[ear()["eat_profile"]]))),
    ("h48_no_profile_though_submods", Code.TOKEN_PROFILE, lambda: HONEST.token(ear(eat_profile=None))),
    ("h48_no_profile_though_submods_beside_the_simple_form", Code.TOKEN_PROFILE,
     lambda: HONEST.token(simple(submods={}))),
    ("h49_submods_empty", Code.TOKEN_SUBMODS, lambda: HONEST.token(ear(submods={}))),
    ("h49_submods_absent", Code.TOKEN_SUBMODS, lambda: HONEST.token(ear(submods=None))),
    ("h49_submods_a_list", Code.TOKEN_SUBMODS, lambda: HONEST.token(ear(submods=["cpu0"]))),
    ("h49_without_cpu0", Code.TOKEN_SUBMODS, lambda: HONEST.token(ear(submods={"gpu0": cpu()}))),
    ("h49_a_submod_that_is_a_text", Code.TOKEN_SUBMODS, lambda: submods(gpu0="affirming")),
    ("h50_gpu0_is_not_affirming", Code.TOKEN_STATUS, lambda: submods(gpu0=cpu(status="contraindicated"))),
    ("h50_gpu0_warns", Code.TOKEN_STATUS, lambda: submods(gpu0=cpu(status="warning"))),
    ("h50_gpu0_has_no_status", Code.TOKEN_STATUS, lambda: submods(gpu0=cpu(status=None))),
    ("h50_capitals", Code.TOKEN_STATUS, lambda: odd_cpu(status="Affirming")),
    ("h50_true", Code.TOKEN_STATUS, lambda: odd_cpu(status=True)),
    ("h50_a_list", Code.TOKEN_STATUS, lambda: odd_cpu(status=["affirming"])),
    ("h50_a_number", Code.TOKEN_STATUS, lambda: odd_cpu(status=2)),
    ("h51_contraindicated_in_the_vector", Code.TOKEN_STATUS,
     lambda: odd_cpu(trustworthiness_vector={"hardware": 97, "executables": 3})),
    ("h51_negative_contraindicated_in_the_vector", Code.TOKEN_STATUS,
     lambda: odd_cpu(trustworthiness_vector={"hardware": -97})),
    ("h51_a_warning_in_the_vector", Code.TOKEN_STATUS, lambda: odd_cpu(trustworthiness_vector={"executables": 33})),
    ("h51_a_verifier_that_failed", Code.TOKEN_STATUS,
     lambda: odd_cpu(trustworthiness_vector={"hardware": 2, "executables": -1})),
    ("h51_true_in_the_vector", Code.TOKEN_STATUS, lambda: odd_cpu(trustworthiness_vector={"hardware": True})),
    ("h51_a_text_in_the_vector", Code.TOKEN_STATUS, lambda: odd_cpu(trustworthiness_vector={"hardware": "2"})),
    ("h51_a_vector_that_asserts_nothing", Code.TOKEN_STATUS, lambda: odd_cpu(trustworthiness_vector={"hardware": 0})),
    ("h51_an_empty_vector", Code.TOKEN_STATUS, lambda: odd_cpu(trustworthiness_vector={})),
    ("h51_no_vector", Code.TOKEN_STATUS, lambda: odd_cpu(trustworthiness_vector=None)),
    ("h52_no_policy_id", Code.TOKEN_POLICY, lambda: odd_cpu(appraisal_policy_id=None)),
    ("h52_another_policy_id", Code.TOKEN_POLICY, lambda: odd_cpu(appraisal_policy_id="lax")),
    ("h52_a_longer_policy_id", Code.TOKEN_POLICY, lambda: odd_cpu(appraisal_policy_id="default2")),
    ("h52_policy_ids_differ_between_submods", Code.TOKEN_POLICY, lambda: submods(gpu0=cpu(appraisal_policy_id="lax"))),
    ("h52_simple_without_reports", Code.TOKEN_POLICY, lambda: HONEST.token(simple(**{"evaluation-reports": None}))),
    ("h52_simple_with_no_report", Code.TOKEN_POLICY, lambda: reports()),
    ("h52_simple_by_another_policy", Code.TOKEN_POLICY, lambda: reports({"policy-id": "lax"})),
    ("h52_simple_with_a_report_that_is_a_text", Code.TOKEN_POLICY, lambda: reports("default")),
    ("h52_simple_with_a_report_without_id", Code.TOKEN_POLICY, lambda: reports(REPORT, {})),
    ("h53_runtime_data_claims_null", Code.TOKEN_CLAIMS, lambda: claims_of_cpu(None)),
    ("h53_runtime_data_claims_a_list", Code.TOKEN_CLAIMS, lambda: claims_of_cpu(["pubkey-hash"])),
    ("h53_runtime_data_claims_empty", Code.TOKEN_CLAIMS, lambda: claims_of_cpu({})),
    ("h53_annotated_evidence_absent", Code.TOKEN_CLAIMS,
     lambda: odd_cpu(**{"veraison.annotated_evidence": None})),
    ("h53_another_keys_hash", Code.TOKEN_CLAIMS, lambda: claims_of_cpu(OTHER_CLAIMS)),
    ("h53_the_right_claims_only_in_gpu0", Code.TOKEN_CLAIMS,
     lambda: HONEST.token(ear(submods={"cpu0": makers.annotated(OTHER_CLAIMS), "gpu0": cpu()}))),
    ("h53_simple_with_another_keys_hash", Code.TOKEN_CLAIMS,
     lambda: HONEST.token(simple(customized_claims={"runtime_data": OTHER_CLAIMS}))),
    ("h53_simple_without_claims", Code.TOKEN_CLAIMS, lambda: HONEST.token(simple(customized_claims=None))),
    ("h54_simple_not_allowed", Code.TOKEN_STATUS, lambda: reports({**REPORT, "allow": False})),
    ("h54_simple_not_allowed_at_the_top", Code.TOKEN_STATUS, lambda: HONEST.token(simple(allow=False))),
    ("h54_simple_allow_a_text", Code.TOKEN_STATUS, lambda: reports({**REPORT, "allow": "true"})),
    ("h54_simple_result_not_allowed", Code.TOKEN_STATUS,
     lambda: reports({**REPORT, "evaluation-result": '{"allow":false}'})),
    ("h54_simple_result_as_object_not_allowed", Code.TOKEN_STATUS,
     lambda: reports({**REPORT, "evaluation-result": {"allow": False}})),
    ("h54_simple_result_that_is_not_json", Code.TOKEN_STATUS, lambda: reports({**REPORT, "evaluation-result": "no"})),
    ("h54_simple_result_false", Code.TOKEN_STATUS, lambda: reports({**REPORT, "evaluation-result": False})),
    ("h54_simple_not_allowed_by_another_policy", Code.TOKEN_STATUS,
     lambda: reports(REPORT, {"policy-id": "other", "allow": False})),
    ("h55_duplicate_keys_in_the_header", Code.TOKEN_FORM,
     lambda: makers.signed('{"alg":"none",' + json.dumps(HONEST.header())[1:], ear(), ec_key("signer"), "ES256")),
    ("h55_duplicate_keys_in_the_payload", Code.TOKEN_FORM,
     lambda: makers.signed(HONEST.header(), '{"exp":1,' + json.dumps(ear())[1:], ec_key("signer"), "ES256")),
    ("h55_nan_in_the_payload", Code.TOKEN_FORM,
     lambda: makers.signed(HONEST.header(), '{"x":NaN,' + json.dumps(ear())[1:], ec_key("signer"), "ES256")),
    ("h55_a_payload_that_is_a_list", Code.TOKEN_FORM,
     lambda: makers.signed(HONEST.header(), "[]", ec_key("signer"), "ES256")),
    ("h55_a_payload_nested_very_deep", Code.TOKEN_FORM,
     lambda: makers.signed(HONEST.header(), '{"x":' + "[" * 65 + "]" * 65 + "}", ec_key("signer"), "ES256")),
    ("h55_half_a_surrogate_pair", Code.TOKEN_FORM,
     lambda: makers.signed(HONEST.header(), '{"x":"\\ud800"}', ec_key("signer"), "ES256")),
    ("h55_two_segments", Code.TOKEN_FORM, lambda: parts(lambda head, body, _: f"{head}.{body}")),
    ("h55_four_segments", Code.TOKEN_FORM, lambda: parts(lambda *three: ".".join([*three, "AA"]))),
    ("h55_padding", Code.TOKEN_FORM, lambda: parts(lambda head, body, last: f"{head}.{body}.{last}==")),
    ("h55_white_space_at_the_end", Code.TOKEN_FORM, lambda: HONEST.token(ear()) + "\n"),
    ("h55_white_space_inside", Code.TOKEN_FORM, lambda: HONEST.token(ear()).replace("e", "e ", 1)),
    ("h55_standard_base64", Code.TOKEN_FORM, lambda: parts(lambda head, body, _: f"{head}.{body}.{'+/' * 43}")),
    ("h55_not_ascii", Code.TOKEN_FORM, lambda: HONEST.token(ear()) + "\u00e9"),
    ("h55_a_header_above_its_cap", Code.TOKEN_SIZE, lambda: HONEST.token(ear(), x=60_000 * "a")),
    ("h55_10_mb", Code.TOKEN_SIZE, lambda: "a" * 10_000_000),
    ("h55_a_byte_above_the_cap", Code.TOKEN_SIZE, lambda: "a" * (MAX_TOKEN_BYTES + 1)),
    ("h56_last_signature_byte_altered", Code.TOKEN_SIGNATURE,
     lambda: with_signature(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]))),
    ("h56_unused_bits_of_the_last_character_set", Code.TOKEN_FORM,
     lambda: parts(lambda head, body, last: f"{head}.{body}.{last[:-1]}{chr(ord(last[-1]) + 1)}")),
    ("h56_der_instead_of_raw", Code.TOKEN_SIGNATURE,
     lambda: with_signature(lambda raw: makers.tlv(0x30, makers.tlv(2, raw[:32]) + makers.tlv(2, raw[32:])))),
    ("h56_a_zero_byte_before_s", Code.TOKEN_SIGNATURE, lambda: with_signature(lambda raw: raw[:32] + b"\0" + raw[32:])),
    ("h56_r_is_0", Code.TOKEN_SIGNATURE, lambda: with_signature(lambda raw: bytes(32) + raw[32:])),
    ("h56_s_is_0", Code.TOKEN_SIGNATURE, lambda: with_signature(lambda raw: raw[:32] + bytes(32))),
    ("h56_r_and_s_are_0", Code.TOKEN_SIGNATURE, lambda: with_signature(lambda _raw: bytes(64))),
    ("h56_an_empty_signature", Code.TOKEN_SIGNATURE, lambda: with_signature(lambda _raw: b"")),
    ("h56_a_payload_of_another_token", Code.TOKEN_SIGNATURE,
     lambda: parts(lambda head, _body, last: f"{head}.{b64url(json.dumps(ear(exp=SECONDS + 9)).encode())}.{last}")),
    ("h57_a_valid_token_of_another_tee", Code.TOKEN_CLAIMS, lambda: claims_of_cpu(OTHER_CLAIMS)),
]  # fmt: skip


def passport_chain(token: str) -> list[bytes]:
    """A peer that shows this token."""
    return [makers.peer_certificate(makers.evidence_value(token.encode(), 0xC0C001))]


@pytest.mark.parametrize("form", ["ear", "simple"])
def test_conclude_accepts_the_honest_token(form: str) -> None:
    """The control of the catalogue, in both models and forms."""
    token = HONEST.token(ear() if form == "ear" else simple())
    checked = conclude(examine(honest_chain(), BACKGROUND, NOW), token, HONEST.anchors, BACKGROUND, NOW)
    shown = conclude(examine(passport_chain(token), PASSPORT, NOW), None, HONEST.anchors, PASSPORT, NOW)
    assert checked == shown
    assert checked.policy_ids == (makers.POLICY,)


@pytest.mark.parametrize(("code", "token"), [pytest.param(*case[1:], id=case[0]) for case in TOKENS])
def test_conclude_refuses(code: Code, token: Token) -> None:
    """A token of the catalogue ends with its code, whether the service gave it or the peer shows it."""
    text = token()
    presented = examine(honest_chain(), BACKGROUND, NOW)
    with pytest.raises(Refused) as refusal:
        conclude(presented, text, HONEST.anchors, BACKGROUND, NOW)
    assert refusal.value.code == code, refusal.value.detail
    if text.isascii() and len(text) < MAX_CERTIFICATE_BYTES:
        shown = examine(passport_chain(text), PASSPORT, NOW)
        with pytest.raises(Refused) as refusal:
            conclude(shown, None, HONEST.anchors, PASSPORT, NOW)
        assert refusal.value.code == code, refusal.value.detail


@pytest.mark.parametrize("spell", [makers.x5c, makers.x5c_standard])
def test_h44_x5c_in_either_base64_is_accepted(spell: Callable[[tuple[bytes, ...]], list[str]]) -> None:
    """RFC 7515 writes standard base64, the trustee base64url."""
    token = header_jwk(x5c=spell(HONEST.x5c))
    verdict = conclude(examine(honest_chain(), BACKGROUND, NOW), token, HONEST.anchors, BACKGROUND, NOW)
    assert verdict.policy_ids == (makers.POLICY,)


def test_h45_jku_x5u_and_kid_beside_an_honest_key_change_nothing() -> None:
    """They are never looked at: attest/ has no means to fetch."""
    token = HONEST.token(ear(), jku="https://example.org/", x5u="https://example.org/", kid="../../etc/passwd")
    verdict = conclude(examine(honest_chain(), BACKGROUND, NOW), token, HONEST.anchors, BACKGROUND, NOW)
    assert verdict.policy_ids == (makers.POLICY,)


def test_catalogue_ids_are_unique() -> None:
    """Ids are stable names, so none may be used twice."""
    ids = [case[0] for case in TOKENS]
    assert len(set(ids)) == len(ids)
