"""How one certificate of our own is made: a new key, evidence bound to it, and for passport the service's word on that.

Three sources with one shape: background check (the agent's evidence in the certificate), passport (a token in it), and
throw-away (neither; for ``no_ra`` and for the side that only verifies). Each call makes a new key.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tng_runtime.attest import evidence as evidence_module
from tng_runtime.attest import strict_json
from tng_runtime.attest.base64_strict import decode_url
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, CocoToken, Evidence
from tng_runtime.attest.issue import generate_key, issue_certificate, spki_sha256
from tng_runtime.counts import Asked, counted
from tng_runtime.errors import Refused
from tng_runtime.manifest import Attest
from tng_runtime.tunnel.agent import Connect, collect_evidence
from tng_runtime.tunnel.service import ServiceClient


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate (DER), its key, and until when both may be shown (aware UTC): an embedded token may end earlier."""

    certificate_der: bytes
    private_key: ec.EllipticCurvePrivateKey
    not_after: datetime


Source = Callable[[datetime], Awaitable[Credentials]]


async def throwaway(now: datetime) -> Credentials:
    """Self-signed, without evidence."""
    return self_signed(now)


def self_signed(now: datetime) -> Credentials:
    """``throwaway``, for who waits for nobody."""
    return _issue(generate_key(), None, now)


def background_check(attest: Attest, connect: Connect = anyio.connect_unix, agent: Asked | None = None) -> Source:
    """Certificates with the agent's evidence; raises ``Refused`` (RA-AGENT-..., RA-EVIDENCE-ADDITIONAL).

    ``agent`` counts the calls.
    """
    asked = agent or Asked()

    async def issue(now: datetime) -> Credentials:
        key = generate_key()
        return _issue(key, await _collect(attest.aa_path, key, connect, asked), now)

    return issue


def passport(
    attest: Attest, service: ServiceClient, connect: Connect = anyio.connect_unix, agent: Asked | None = None
) -> Source:
    """Certificates with the service's token about the agent's evidence; raises ``Refused`` (also RA-SERVICE-...)."""
    asked = agent or Asked()

    async def issue(now: datetime) -> Credentials:
        key = generate_key()
        token = await service.attest(await _collect(attest.aa_path, key, connect, asked), attest.policy_ids)
        return _issue(key, CocoToken(token), now, token_end(token))

    return issue


def token_end(token: str) -> datetime | None:
    """``exp`` (RFC 7519, section 4.1.4) of a token that others verify; raises ``Refused`` (RA-TOKEN-FORM, -TIME)."""
    payload = token.split(".")[1] if token.count(".") == 2 else ""
    claims = strict_json.parse_object(
        decode_url(payload, Code.TOKEN_FORM, "the token's payload"), Code.TOKEN_FORM, "the token's payload"
    )
    exp = claims.get("exp")
    if exp is None:
        return None
    try:
        if not isinstance(exp, int) or isinstance(exp, bool):
            raise ValueError
        return datetime.fromtimestamp(exp, UTC)
    except (ValueError, OverflowError, OSError):
        raise Refused(Code.TOKEN_TIME, "the token's exp is not a time in whole seconds") from None


async def _collect(aa_path: str, key: ec.EllipticCurvePrivateKey, connect: Connect, asked: Asked) -> CocoEvidence:
    runtime_data = evidence_module.runtime_data(spki_sha256(key))
    with counted(asked):
        collected = await collect_evidence(aa_path, evidence_module.report_data(runtime_data), connect=connect)
    if collected.additional is not None:
        evidence_module.additional_evidence(collected.additional)
    return CocoEvidence(collected.tee, collected.evidence, collected.additional, runtime_data)


def _issue(
    key: ec.EllipticCurvePrivateKey, evidence: Evidence | None, now: datetime, end: datetime | None = None
) -> Credentials:
    der = issue_certificate(key, evidence, now)
    not_after = x509.load_der_x509_certificate(der).not_valid_after_utc
    return Credentials(der, key, not_after if end is None else min(end, not_after))
