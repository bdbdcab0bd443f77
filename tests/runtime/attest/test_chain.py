"""Chains that hold, beside the catalogue of those that do not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from runtime.attest import makers
from runtime.attest.makers import NOW, Authority, certificate, der, ec_key
from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.chain import leaf_key
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

HONEST = Authority()
SIGNS = (makers.usage(key_cert_sign=True), True)


def spelled(*chain: x509.Certificate) -> list[str]:
    """As in ``x5c``."""
    return makers.x5c(der(item) for item in chain)


def middle(issuer: str = "root", issuer_key: str = "root", depth: int | None = None) -> x509.Certificate:
    """An intermediate CA."""
    constraints = (x509.BasicConstraints(ca=True, path_length=depth), True)
    return certificate("middle", ec_key("middle"), issuer, ec_key(issuer_key), extensions=[constraints, SIGNS])


def leaf_of_middle() -> x509.Certificate:
    """The signer, certified by the intermediate."""
    return certificate("signer", ec_key("signer"), "middle", ec_key("middle"))


@pytest.mark.parametrize(
    ("chain", "anchor"),
    [
        pytest.param(lambda: [HONEST.leaf(), HONEST.root], lambda: HONEST.root, id="leaf_and_root"),
        pytest.param(lambda: [HONEST.leaf()], lambda: HONEST.root, id="leaf_alone"),
        pytest.param(lambda: [leaf_of_middle(), middle()], lambda: HONEST.root, id="intermediate"),
        pytest.param(lambda: [leaf_of_middle(), middle(), HONEST.root], lambda: HONEST.root, id="all_three"),
    ],
)
def test_chains_that_end_at_the_anchor_hold(
    chain: Callable[[], list[x509.Certificate]], anchor: Callable[[], x509.Certificate]
) -> None:
    """With and without the anchor itself."""
    key = leaf_key(spelled(*chain()), TrustAnchors((anchor(),)), NOW)
    assert key.public_numbers() == ec_key("signer").public_key().public_numbers()


def test_an_intermediate_may_be_the_anchor() -> None:
    """The root above it then plays no part, but has to fit."""
    pinned = middle()
    leaf_key(spelled(leaf_of_middle(), pinned, HONEST.root), TrustAnchors((pinned,)), NOW)


def test_a_leaf_may_be_the_anchor() -> None:
    """A service with one self-signed certificate, which is no CA."""
    leaf = certificate("signer", ec_key("signer"))
    leaf_key(spelled(leaf), TrustAnchors((leaf,)), NOW)


def test_a_leaf_that_a_ca_issued_may_be_the_anchor() -> None:
    """``trusted_certs_paths`` names it alone: then no other certificate of that CA signs tokens."""
    leaf = HONEST.leaf(extensions=[makers.NOT_CA, (makers.usage(digital_signature=True), True)])
    for chain in ([leaf], [leaf, HONEST.root]):
        leaf_key(spelled(*chain), TrustAnchors((leaf,)), NOW)
    other = certificate("signer", ec_key("other"), "root", ec_key("root"))
    with pytest.raises(Refused) as refusal:
        leaf_key(spelled(other, HONEST.root), TrustAnchors((leaf,)), NOW)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED


SIGNERS = {
    "a_signature": [(makers.usage(digital_signature=True), True)],
    "a_signature_among_others": [(makers.usage(digital_signature=True, key_encipherment=True), False)],
    "jwt": [makers.purposes(x509.ObjectIdentifier("1.3.6.1.5.5.7.3.37"))],
    "any_purpose": [makers.purposes(ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)],
}


@pytest.mark.parametrize("usages", SIGNERS.values(), ids=SIGNERS)
def test_usages_that_allow_signing_tokens_hold(usages: list[tuple[x509.ExtensionType, bool]]) -> None:
    """The catalogue (114) has those that do not."""
    leaf_key(spelled(HONEST.leaf(extensions=usages)), HONEST.anchors, NOW)


def test_a_pinned_leaf_must_be_one_that_signs() -> None:
    """A web server's certificate is no signer, pinned or not."""
    leaf = HONEST.leaf(extensions=[makers.purposes(ExtendedKeyUsageOID.SERVER_AUTH)])
    with pytest.raises(Refused) as refusal:
        leaf_key(spelled(leaf), TrustAnchors((leaf,)), NOW)
    assert refusal.value.code == Code.TOKEN_CHAIN


def test_an_anchor_that_is_no_ca_certifies_nobody() -> None:
    """It may only be the leaf itself."""
    anchor = certificate("root", ec_key("root"))
    with pytest.raises(Refused) as refusal:
        leaf_key(spelled(HONEST.leaf()), TrustAnchors((anchor,)), NOW)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED


def test_an_anchor_that_ended_since_it_was_read_is_none() -> None:
    """Pins are read at the start, tokens verified for months."""
    anchor = certificate("root", ec_key("root"), end=NOW - timedelta(seconds=1), extensions=[makers.CA])
    with pytest.raises(Refused) as refusal:
        leaf_key(spelled(HONEST.leaf()), TrustAnchors((anchor,)), NOW)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED


def test_the_path_length_is_respected() -> None:
    """An intermediate that may only certify leaves certifies another intermediate."""
    outer = certificate(
        "outer", ec_key("other"), "root", ec_key("root"),
        extensions=[(x509.BasicConstraints(ca=True, path_length=0), True), SIGNS],
    )  # fmt: skip
    chain = spelled(leaf_of_middle(), middle("outer", "other"), outer)
    with pytest.raises(Refused) as refusal:
        leaf_key(chain, HONEST.anchors, NOW)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED
