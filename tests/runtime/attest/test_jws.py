"""Signatures that hold: every algorithm of the protocol, and the odd spellings that it allows."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from runtime.attest import makers
from runtime.attest.makers import NOW, Authority, ec_key, rsa_key
from tng_demo.sample_authority import b64url
from tng_runtime.attest.codes import Code
from tng_runtime.attest.jws import verify_signature
from tng_runtime.errors import Refused

CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}


def authority(alg: str) -> Authority:
    """A service that signs with this algorithm."""
    key = ec_key(f"signer {alg}", CURVES[alg]) if alg in CURVES else rsa_key()
    return Authority(key=key, alg=alg)


@pytest.mark.parametrize("alg", [*CURVES, "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"])
def test_every_algorithm_holds(alg: str) -> None:
    """As text and as bytes."""
    signer = authority(alg)
    token = signer.token({"a": 1})
    assert verify_signature(token, signer.anchors, NOW) == {"a": 1}
    assert verify_signature(token.encode(), signer.anchors, NOW) == {"a": 1}


@pytest.mark.parametrize(("alg", "other"), [("RS256", "PS256"), ("PS384", "RS384"), ("RS256", "RS512")])
def test_an_rsa_signature_under_another_algorithm_does_not_hold(alg: str, other: str) -> None:
    """The key allows both, the signature is of one."""
    signer = authority(alg)
    jwk = {**signer.header()["jwk"], "alg": other}
    with pytest.raises(Refused) as refusal:
        verify_signature(signer.token({}, alg=other, jwk=jwk), signer.anchors, NOW)
    assert refusal.value.code == Code.TOKEN_SIGNATURE


def test_typ_and_the_algorithm_in_the_jwk_may_be_absent() -> None:
    """Both are optional in RFC 7515 and RFC 7517."""
    signer = Authority()
    jwk = {key: value for key, value in signer.header()["jwk"].items() if key != "alg"}
    assert verify_signature(signer.token({}, typ=None, jwk=jwk), signer.anchors, NOW) == {}


def test_coordinates_may_lack_leading_zero_bytes() -> None:
    """The trustee drops them; such a key turns up once in 128."""
    key = next(key for key in iter(lambda: ec.generate_private_key(ec.SECP256R1()), None) if _short(key))
    signer = Authority(key=key)
    x = key.public_key().public_numbers().x
    jwk = {**signer.header()["jwk"], "x": b64url(x.to_bytes(31, "big"))}
    assert verify_signature(signer.token({}, jwk=jwk), signer.anchors, NOW) == {}


def test_without_anchors_the_header_is_believed() -> None:
    """``skip_as_token_cert_verify``: then even no chain is needed, but the signature still is."""
    signer = Authority(key=ec_key("nobody"))
    token = signer.token({"a": 1}, jwk=makers.jwk(signer.key))
    assert verify_signature(token, None, NOW) == {"a": 1}
    with pytest.raises(Refused) as refusal:
        verify_signature(token[:-4] + "AAAA", None, NOW)
    assert refusal.value.code == Code.TOKEN_SIGNATURE


def _short(key: ec.EllipticCurvePrivateKey) -> bool:
    return key.public_key().public_numbers().x < 1 << 248
