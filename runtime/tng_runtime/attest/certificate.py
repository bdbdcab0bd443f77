"""The certificate that a peer shows: checked as far as it can be without asking anybody.

It is self-signed on purpose: no chain is built, its evidence is the trust. What remains to check is that it is one
unambiguous X.509 v3 certificate (RFC 5280) in DER, strongly signed by its own key, within its dates, and that it
carries exactly one evidence that is bound to its key. That the peer holds the private key is TLS's to prove
(CertificateVerify).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import Evidence, decode
from tng_runtime.attest.foreign import check_strength, refusing
from tng_runtime.attest.oids import EVIDENCE
from tng_runtime.errors import Refused

# RFC 5280 states no limit; evidence with event logs exceeds 64 KB, and 1 MiB bounds what a stranger can make us hold.
MAX_CERTIFICATE_BYTES = 1 << 20
MAX_LIFE = timedelta(hours=24)
# Two hosts' clocks differ a little, and a certificate may be shown in the second in which it was issued.
NOT_BEFORE_LEEWAY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class PresentedCertificate:
    """A certificate whose own checks have passed; its evidence has not been appraised yet.

    ``sha256`` is the hex digest of the DER (cache key, log); ``spki_sha256`` the 32 bytes that the evidence is bound
    to; ``not_after`` is aware UTC.
    """

    sha256: str
    spki_sha256: bytes
    not_after: datetime
    evidence: Evidence


def select(chain: Sequence[bytes]) -> bytes:
    """The DER of the one certificate that a peer must show; raises ``Refused`` (RA-CERT-CHAIN) for none or several."""
    if len(chain) != 1:
        raise Refused(Code.CERT_CHAIN, f"{len(chain)} certificates instead of 1")
    return chain[0]


def read_certificate(der: bytes, now: datetime) -> PresentedCertificate:
    """Check a peer's certificate at ``now`` (aware UTC).

    Raises ``Refused``: RA-CERT-..., RA-EVIDENCE-..., RA-RUNTIME-DATA-..., RA-KEY-BINDING.
    """
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise Refused(Code.CERT_SIZE, f"{len(der)} bytes, at most {MAX_CERTIFICATE_BYTES} are read")
    with refusing(Code.CERT_FORM, "not a certificate"):
        certificate = x509.load_der_x509_certificate(der)
        _check_form(certificate)
        extensions = _extensions(certificate)
    with refusing(Code.CERT_ALGORITHM, "the certificate's algorithms are not supported"):
        check_strength(certificate, Code.CERT_ALGORITHM, "the certificate")
    with refusing(Code.CERT_SELF_SIGNED, "issuer is not subject, or the signature is not by the certificate's own key"):
        certificate.verify_directly_issued_by(certificate)
    _check_critical(extensions)
    _check_dates(certificate, now)
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    spki_sha256 = hashlib.sha256(spki).digest()
    return PresentedCertificate(
        sha256=hashlib.sha256(der).hexdigest(),
        spki_sha256=spki_sha256,
        not_after=certificate.not_valid_after_utc,
        evidence=decode(_evidence_value(extensions), spki_sha256),
    )


def _check_form(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise Refused(Code.CERT_FORM, "not a certificate of version 3")
    # RFC 5280, section 4.1.2.2. The library only warns.
    if certificate.serial_number <= 0:
        raise Refused(Code.CERT_FORM, "the serial number is not positive")


def _extensions(certificate: x509.Certificate) -> x509.Extensions:
    try:
        return certificate.extensions
    except x509.DuplicateExtension as error:
        code = Code.CERT_EVIDENCE_TWICE if error.oid == EVIDENCE else Code.CERT_FORM
        raise Refused(code, f"extension {error.oid.dotted_string} occurs twice") from None


def _check_critical(extensions: x509.Extensions) -> None:
    """RFC 5280, section 4.2: a critical extension that is not processed ends the matter. Processed are three."""
    for extension in extensions:
        match extension.value:
            case x509.BasicConstraints(ca=ca):
                fits = not ca
            case x509.KeyUsage(digital_signature=signs):
                # RFC 8446, section 4.4.2.2: CertificateVerify needs digitalSignature.
                fits = signs
            case _:
                fits = not extension.critical or extension.oid == EVIDENCE
        if not fits:
            raise Refused(Code.CERT_CRITICAL, f"extension {extension.oid.dotted_string}")


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise Refused(Code.CERT_DATES, f"it ended at {end:%Y-%m-%dT%H:%M:%SZ}")
    if begin - now > NOT_BEFORE_LEEWAY:
        raise Refused(Code.CERT_DATES, f"it begins at {begin:%Y-%m-%dT%H:%M:%SZ}")
    if end - begin > MAX_LIFE:
        raise Refused(Code.CERT_DATES, f"it lives for {end - begin}, at most {MAX_LIFE} are accepted")


def _evidence_value(extensions: x509.Extensions) -> bytes:
    for extension in extensions:
        if extension.oid == EVIDENCE and isinstance(extension.value, x509.UnrecognizedExtension):
            return extension.value.value
    raise Refused(Code.CERT_NO_EVIDENCE, f"no extension {EVIDENCE.dotted_string}")
