"""Trust anchors: the certificates under which tokens must be signed, from PEM (RFC 7468)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """At least one certificate; each was within its dates when read."""

    certificates: tuple[x509.Certificate, ...]


def read_anchors(pem: bytes, now: datetime) -> TrustAnchors:
    """All certificates of a PEM bundle (files may be joined); raises ``Refused`` (RA-ANCHOR-FORM, RA-ANCHOR-DATES)."""
    raise NotImplementedError
