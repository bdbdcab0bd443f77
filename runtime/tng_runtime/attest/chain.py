"""The certificate chain of a token: leaf first, each certified by the next, ending at a trust anchor (RFC 7515,
section 4.1.6).

The order is checked here, because a path builder would repair a wrong one. The path itself is the library's to
validate (RFC 5280, section 6: signatures, dates, CA:TRUE, path length, unknown critical extensions) under extension
policies without the web's demands: a service's leaf carries no names and no extended usages.

What a leaf does carry is heeded, for a CA may have issued other certificates than the service's. With a keyUsage it
needs digitalSignature (RFC 5280, section 4.2.1.3). An extendedKeyUsage excludes every purpose that it does not list
(section 4.2.1.12), so it must list the signing of JWTs (RFC 9509, section 3) or any purpose. This holds for a leaf that
is itself the anchor as well.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store

from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.base64_strict import decode_either
from tng_runtime.attest.codes import Code
from tng_runtime.attest.foreign import Key, check_strength, refusing, strong_key
from tng_runtime.errors import Refused

MAX_CHAIN = 8

# id-kp-jwt of RFC 9509.
_SIGNS_TOKENS = frozenset({ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, x509.ObjectIdentifier("1.3.6.1.5.5.7.3.37")})


def leaf_key(x5c: object, anchors: TrustAnchors, now: datetime) -> Key:
    """The key of the chain's leaf, if the chain holds at ``now``.

    Raises ``Refused``: RA-TOKEN-CHAIN for a chain that is not valid in itself, RA-TOKEN-UNTRUSTED for one that ends
    elsewhere.
    """
    chain = _read(x5c)
    with refusing(Code.TOKEN_CHAIN, "the token's chain is malformed or out of order"):
        for certificate in chain:
            check_strength(certificate, Code.TOKEN_CHAIN, "a certificate of the token's chain")
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise Refused(Code.TOKEN_CHAIN, "a certificate of the token's chain is not within its dates")
        for subject, issuer in pairwise(chain):
            subject.verify_directly_issued_by(issuer)
            if not _is_authority(issuer):
                raise Refused(Code.TOKEN_CHAIN, "an issuer in the token's chain is not a CA")
        _check_signer(chain[0])
        key = strong_key(chain[0].public_key(), Code.TOKEN_CHAIN, "the leaf")
    verifier = (
        PolicyBuilder()
        .store(Store(list(anchors.certificates)))
        .time(now)
        .max_chain_depth(MAX_CHAIN)
        .extension_policies(ca_policy=_CA_POLICY, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    with refusing(Code.TOKEN_UNTRUSTED, "the token's chain does not end at a trust anchor"):
        verifier.verify(chain[0], chain[1:])
    return key


def _read(x5c: object) -> list[x509.Certificate]:
    if not isinstance(x5c, list) or not 0 < len(x5c) <= MAX_CHAIN:
        raise Refused(Code.TOKEN_CHAIN, f"x5c is not a list of 1 to {MAX_CHAIN} certificates")
    chain = []
    for item in x5c:
        if not isinstance(item, str):
            raise Refused(Code.TOKEN_CHAIN, "an item of x5c is not a text")
        der = decode_either(item, Code.TOKEN_CHAIN, "an item of x5c")
        with refusing(Code.TOKEN_CHAIN, "an item of x5c is not a certificate"):
            chain.append(x509.load_der_x509_certificate(der))
    return chain


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _check_signer(leaf: x509.Certificate) -> None:
    for extension in leaf.extensions:
        match extension.value:
            case x509.KeyUsage(digital_signature=False):
                raise Refused(Code.TOKEN_CHAIN, "the leaf's keyUsage does not allow signing tokens")
            case x509.ExtendedKeyUsage() as purposes if _SIGNS_TOKENS.isdisjoint(purposes):
                raise Refused(Code.TOKEN_CHAIN, "the leaf's extendedKeyUsage is for something else than signing tokens")
            case _:
                pass


def _signs_certificates(_policy: Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("its keyUsage does not allow signing certificates")


_CA_POLICY = (
    ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, Criticality.AGNOSTIC, None)
    .may_be_present(x509.KeyUsage, Criticality.AGNOSTIC, _signs_certificates)
)
