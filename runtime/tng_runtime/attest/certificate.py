"""The certificate that a peer shows: checked as far as it can be without asking anybody.

It is self-signed on purpose: no chain is built, its evidence is the trust. What remains to check is that it is one unambiguous
X.509 v3 certificate (RFC 5280) in DER, strongly signed by its own key, within its dates, and that it carries exactly one
evidence that is bound to its key. That the peer holds the private key is TLS's to prove (CertificateVerify).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tng_runtime.attest.evidence import Evidence


# RFC 5280 states no limit; evidence with event logs exceeds 64 KB, and 1 MiB bounds what a stranger can make us hold.
MAX_CERTIFICATE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PresentedCertificate:
    """A certificate whose own checks have passed; its evidence has not been appraised yet.

    ``sha256`` is the hex digest of the DER (cache key, log); ``spki_sha256`` the 32 bytes that the evidence is bound to;
    ``not_after`` is aware UTC.
    """

    sha256: str
    spki_sha256: bytes
    not_after: datetime
    evidence: Evidence


def select(chain: Sequence[bytes]) -> bytes:
    """The DER of the one certificate that a peer must show; raises ``Refused`` (RA-CERT-CHAIN) for none or several."""
    raise NotImplementedError


def read_certificate(der: bytes, now: datetime) -> PresentedCertificate:
    """Check a peer's certificate at ``now`` (aware UTC); raises ``Refused`` (RA-CERT-..., RA-EVIDENCE-..., RA-RUNTIME-DATA-..., RA-KEY-BINDING)."""
    raise NotImplementedError
