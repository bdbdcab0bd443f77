"""One verification from the peer's certificate to the verdict: the order of the checks, decided in one place.

The caller fetches, this module decides (sigstore and TUF split it the same way). A background check is
``examine`` -> ``service_request`` -> the caller posts -> ``conclude``; a passport is ``examine`` -> ``conclude``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.certificate import PresentedCertificate
from tng_runtime.attest.request import Dialect
from tng_runtime.attest.token import Verdict
from tng_runtime.manifest import Verify


@dataclass(frozen=True, slots=True)
class Rules:
    """A verifier's settings; hashable, so that a verdict can be cached per certificate digest and rules."""

    model: Literal["background_check", "passport"]
    policy_ids: tuple[str, ...]
    issuer: str | None = None
    skip_cert_verify: bool = False

    @classmethod
    def of(cls, verify: Verify) -> Rules:
        """The rules of a manifest's ``verify`` block."""
        raise NotImplementedError


def examine(chain: Sequence[bytes], rules: Rules, now: datetime) -> PresentedCertificate:
    """The peer's certificates (DER, as TLS received them) to the one presented, its evidence of the kind that the model wants."""
    raise NotImplementedError


def service_request(presented: PresentedCertificate, rules: Rules, dialect: Dialect = Dialect.LIST) -> bytes:
    """Background check: the body to post to the attestation service for this certificate."""
    raise NotImplementedError


def conclude(
    presented: PresentedCertificate, token: str | None, anchors: TrustAnchors | None, rules: Rules, now: datetime
) -> Verdict:
    """The verdict, whose ``expires_at`` is never later than the certificate's ``not_after``.

    ``token`` is the service's answer (``request.read_answer``) in a background check, and None in passport, where the certificate brings it.
    ``anchors`` may be None only with ``skip_cert_verify``.
    """
    raise NotImplementedError
