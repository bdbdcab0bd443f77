"""The attestation token: who signed it, whether it still holds, and whether it affirms this peer.

A JWT (RFC 7519) by a CoCo trustee, in its EAR form (draft-ietf-rats-ear) or in the older simple form. The header proposes a key; the key
counts only as the leaf of a certificate chain that ends at a trust anchor, and the key, not the header, decides the algorithm
(RFC 8725, sections 3.1 and 3.2). Nothing of the payload is looked at before the signature holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from tng_runtime.attest.anchors import TrustAnchors

MAX_TOKEN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must satisfy beyond its claims.

    ``policy_ids`` is not empty; ``issuer`` None accepts any; ``skip_cert_verify`` trusts the header's own key and thereby anybody;
    ``require_exp`` refuses a token that never ends.
    """

    policy_ids: tuple[str, ...]
    issuer: str | None = None
    skip_cert_verify: bool = False
    require_exp: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The peer is affirmed. ``expires_at`` (aware UTC, without leeway) is when the word ends; ``tee`` is for logs only."""

    expires_at: datetime | None
    policy_ids: tuple[str, ...]
    tee: str | None
    form: Literal["ear", "simple"]


def verify_token(
    token: bytes | str,
    anchors: TrustAnchors | None,
    rules: TokenRules,
    expected_claims: Mapping[str, object],
    now: datetime,
) -> Verdict:
    """Verify a token at ``now`` (aware UTC); raises ``Refused`` (RA-TOKEN-...).

    ``expected_claims`` must all be among the token's runtime data claims (see ``evidence.runtime_claims``). ``anchors`` may be None only
    with ``skip_cert_verify``.
    """
    raise NotImplementedError
