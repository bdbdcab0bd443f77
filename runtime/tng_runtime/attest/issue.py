"""The certificates that this side shows: with its evidence, or, under ``no_ra``, a throw-away one.

The form is what peers on the wire expect: X.509 v3, ECDSA P-256 with SHA-256, one fixed name, six hours. The evidence
extension's value is directly the CBOR. The second extension (2.23.133.5.4.2) is present and empty.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tng_runtime.attest import evidence as evidence_module
from tng_runtime.attest.evidence import Evidence
from tng_runtime.attest.oids import EVIDENCE, MANIFEST

VALIDITY = timedelta(hours=6)

_NAME = x509.Name(
    [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Inclavare Containers"),
        x509.NameAttribute(NameOID.COMMON_NAME, "TNG"),
    ]
)
_KEY_USAGE = x509.KeyUsage(
    digital_signature=True,
    content_commitment=True,
    key_encipherment=True,
    key_agreement=True,
    data_encipherment=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)


def generate_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key, one per certificate."""
    return ec.generate_private_key(ec.SECP256R1())


def spki_sha256(key: ec.EllipticCurvePrivateKey) -> bytes:
    """SHA-256 (32 bytes) of the key's SubjectPublicKeyInfo: what evidence is bound to."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(spki).digest()


def issue_certificate(key: ec.EllipticCurvePrivateKey, evidence: Evidence | None, now: datetime) -> bytes:
    """DER of a self-signed certificate valid for six hours from ``now`` (aware UTC); without evidence, a
    throw-away one.
    """
    start = now.replace(microsecond=0)
    public_key = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(_NAME)
        .issuer_name(_NAME)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public_key), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_KEY_USAGE, critical=True)
    )
    if evidence is not None:
        value = evidence_module.encode(evidence)
        builder = builder.add_extension(x509.UnrecognizedExtension(EVIDENCE, value), critical=False)
        builder = builder.add_extension(x509.UnrecognizedExtension(MANIFEST, b""), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
