"""One verification from the peer's certificate to the verdict: the order of the checks, decided in one place.

The caller fetches, this module decides. A background check is :func:`examine` -> the caller asks the service
(``request``) -> :func:`conclude`; a passport is :func:`examine` -> :func:`conclude`. The checks, in order:

 (1) exactly one certificate (RA-CERT-CHAIN), of bounded size (RA-CERT-SIZE)
 (2) it is one X.509 v3 certificate in DER (RA-CERT-FORM) of strong algorithms (RA-CERT-ALGORITHM)
 (3) it is signed by its own key (RA-CERT-SELF-SIGNED), demands nothing unknown (RA-CERT-CRITICAL), and is within its
     dates (RA-CERT-DATES)
 (4) it has exactly one evidence (RA-CERT-NO-EVIDENCE, RA-CERT-EVIDENCE-TWICE) in strict CBOR (RA-EVIDENCE-...)
 (5) the evidence names the certificate's key and nothing else (RA-RUNTIME-DATA-..., RA-KEY-BINDING)
 (6) it is of the kind that the model wants (RA-EVIDENCE-MODEL)
 (7) background check: the service answers with a token (RA-SERVICE-...)
 (8) the token is a strict JWT (RA-TOKEN-SIZE, -FORM, -HEADER) whose key (RA-TOKEN-KEY) ends at a trust anchor
     (RA-TOKEN-CHAIN, -UNTRUSTED) and signed it with an algorithm of its own (RA-TOKEN-ALGORITHM, -SIGNATURE)
 (9) it holds now (RA-TOKEN-TIME) and is by the issuer configured (RA-TOKEN-ISSUER)
(10) it affirms every attester of the machine (RA-TOKEN-PROFILE, -SUBMODS, -STATUS) by every policy configured
    (RA-TOKEN-POLICY)
(11) it vouches for the certificate's key (RA-TOKEN-CLAIMS), and the certificate has not ended meanwhile (RA-CERT-DATES)

That the peer holds the key is TLS's to prove; what nobody proves here is freshness beyond these dates: the wire has
no nonce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.certificate import PresentedCertificate, read_certificate, select
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, CocoToken, runtime_claims
from tng_runtime.attest.token import TokenRules, Verdict, verify_token
from tng_runtime.errors import Refused
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
        return cls(verify.model, verify.policy_ids, verify.issuer, verify.skip_as_token_cert_verify)


def examine(chain: Sequence[bytes], rules: Rules, now: datetime) -> PresentedCertificate:
    """Checks (1) to (6): from the peer's certificates (DER, as TLS received them) to the one that counts."""
    presented = read_certificate(select(chain), now)
    wanted = CocoEvidence if rules.model == "background_check" else CocoToken
    if not isinstance(presented.evidence, wanted):
        raise Refused(Code.EVIDENCE_MODEL, f"the peer does not show what {rules.model} wants")
    return presented


def conclude(
    presented: PresentedCertificate, token: str | None, anchors: TrustAnchors | None, rules: Rules, now: datetime
) -> Verdict:
    """Checks (8) to (11): the verdict, whose ``expires_at`` is never later than the certificate's ``not_after``.

    ``token`` is the service's answer in a background check, and None in passport, where the certificate brings it.
    ``anchors`` may be None only with ``skip_cert_verify``. ``expires_at`` may lie up to five seconds in the past, the
    leeway for clocks: such a verdict holds for this connection and is not kept.
    """
    if rules.model == "passport":
        token = presented.evidence.token if isinstance(presented.evidence, CocoToken) else None
    if token is None:
        raise Refused(Code.EVIDENCE_MODEL, f"there is no token, which {rules.model} needs")
    # A token in the peer's own hands must end; the service's answer is as fresh as the question.
    token_rules = TokenRules(
        rules.policy_ids, rules.issuer, rules.skip_cert_verify, require_exp=rules.model == "passport"
    )
    verdict = verify_token(token, anchors, token_rules, runtime_claims(presented.spki_sha256), now)
    if now > presented.not_after:
        raise Refused(Code.CERT_DATES, "the certificate ended while it was being verified")
    ends = presented.not_after if verdict.expires_at is None else min(verdict.expires_at, presented.not_after)
    return replace(verdict, expires_at=ends)
