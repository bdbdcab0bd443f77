"""Trust anchors: the certificates under which tokens must be signed, from PEM (RFC 7468).

An anchor that has ended is refused when it is read: an operator must learn of it at the start, not from refusals later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from tng_runtime.attest.codes import Code
from tng_runtime.attest.foreign import check_strength, refusing
from tng_runtime.errors import Refused

MAX_PEM_BYTES = 1 << 20
MAX_ANCHORS = 64


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """At least one certificate; each was within its dates when read."""

    certificates: tuple[x509.Certificate, ...]


def read_anchors(pem: bytes, now: datetime) -> TrustAnchors:
    """All certificates of a PEM bundle (files may be joined); raises ``Refused`` (RA-ANCHOR-FORM, RA-ANCHOR-DATES)."""
    if len(pem) > MAX_PEM_BYTES:
        raise Refused(Code.ANCHOR_FORM, f"{len(pem)} bytes, at most {MAX_PEM_BYTES} are read")
    blocks = pem.count(b"-----BEGIN ")
    if not 0 < blocks <= MAX_ANCHORS:
        raise Refused(Code.ANCHOR_FORM, f"{blocks} PEM blocks, expected 1 to {MAX_ANCHORS}")
    with refusing(Code.ANCHOR_FORM, "not a PEM certificate"):
        certificates = tuple(x509.load_pem_x509_certificates(pem))
        if len(certificates) != blocks:
            raise Refused(Code.ANCHOR_FORM, "something else than certificates is among the PEM blocks")
        for certificate in certificates:
            check_strength(certificate, Code.ANCHOR_FORM, "a trust anchor")
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise Refused(Code.ANCHOR_DATES, f"a trust anchor ends at {certificate.not_valid_after_utc:%Y-%m-%d}")
    return TrustAnchors(certificates)
