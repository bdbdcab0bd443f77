"""What this side shows is what the protocol says, and what this side accepts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.attest import makers
from runtime.attest.makers import NOW
from tng_runtime.attest.certificate import read_certificate
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, CocoToken, encode, runtime_data
from tng_runtime.attest.issue import VALIDITY, generate_key, issue_certificate, spki_sha256
from tng_runtime.attest.oids import EVIDENCE, MANIFEST
from tng_runtime.errors import Refused


def test_an_issued_certificate_is_accepted_with_its_evidence() -> None:
    """Both kinds, in the moment of issue."""
    key = generate_key()
    evidence = CocoEvidence("sample", b"{}", None, runtime_data(spki_sha256(key)))
    for shown in (evidence, CocoToken("a.b.c")):
        presented = read_certificate(issue_certificate(key, shown, NOW + timedelta(microseconds=7)), NOW)
        assert presented.evidence == shown
        assert presented.not_after == NOW + timedelta(hours=6) == NOW + VALIDITY


def test_the_form_is_the_one_on_the_wire() -> None:
    """Point by point, as the Rust TNG's own certificates have it."""
    key = generate_key()
    token = CocoToken("a.b.c")
    cert = x509.load_der_x509_certificate(issue_certificate(key, token, NOW))
    assert isinstance(key.curve, ec.SECP256R1)
    assert cert.version is x509.Version.v3
    assert isinstance(cert.signature_hash_algorithm, hashes.SHA256)
    assert [(part.oid, part.value) for part in cert.subject] == [
        (NameOID.ORGANIZATION_NAME, "Inclavare Containers"),
        (NameOID.COMMON_NAME, "TNG"),
    ]
    assert cert.issuer == cert.subject
    assert cert.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert cert.extensions.get_extension_for_class(x509.KeyUsage).value == makers.usage(
        digital_signature=True, content_commitment=True, key_encipherment=True, key_agreement=True
    )
    assert cert.subject.rfc4514_string() == "CN=TNG,O=Inclavare Containers"
    subject = cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert cert.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == subject.digest
    values = {
        extension.oid: extension.value.value
        for extension in cert.extensions
        if isinstance(extension.value, x509.UnrecognizedExtension)
    }
    assert values == {EVIDENCE: encode(token), MANIFEST: b""}
    assert not any(cert.extensions.get_extension_for_oid(oid).critical for oid in values)


def test_a_throw_away_certificate_has_no_evidence() -> None:
    """For ``no_ra``, and for a server that only verifies."""
    der = issue_certificate(generate_key(), None, NOW)
    with pytest.raises(Refused) as refusal:
        read_certificate(der, NOW)
    assert refusal.value.code == Code.CERT_NO_EVIDENCE


def test_two_certificates_differ() -> None:
    """Serial numbers are random: caches go by digest."""
    key = generate_key()
    assert issue_certificate(key, None, NOW) != issue_certificate(key, None, NOW)
