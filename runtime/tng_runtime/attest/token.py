"""The attestation token: whether it still holds, and whether it affirms this peer.

A JWT (RFC 7519) by a CoCo trustee, in its EAR form (draft-ietf-rats-ear) or in the older simple form; ``jws`` has
verified who signed it. Every rule fails closed: what is missing, of another type, or unknown is no affirmation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tng_runtime.attest import ear, simple
from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.appraisal import Appraisal
from tng_runtime.attest.codes import Code
from tng_runtime.attest.jws import verify_signature
from tng_runtime.errors import Refused

LEEWAY = timedelta(seconds=5)
# Where datetime ends; RFC 7519's NumericDate has no end of its own.
_LAST_SECOND = 253402300799


@dataclass(frozen=True, slots=True)
class TokenRules:
    """What a token must satisfy beyond its claims.

    ``policy_ids`` is not empty; ``issuer`` None accepts any; ``skip_cert_verify`` trusts the header's own key and
    thereby anybody; ``require_exp`` refuses a token that never ends.
    """

    policy_ids: tuple[str, ...]
    issuer: str | None = None
    skip_cert_verify: bool = False
    require_exp: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """The peer is affirmed. ``expires_at`` (aware UTC, no leeway) is when the word ends."""

    expires_at: datetime | None
    policy_ids: tuple[str, ...]


def verify_token(
    token: bytes | str,
    anchors: TrustAnchors | None,
    rules: TokenRules,
    expected_claims: Mapping[str, object],
    now: datetime,
) -> Verdict:
    """Verify a token at ``now`` (aware UTC); raises ``Refused`` (RA-TOKEN-...).

    ``expected_claims`` must all be among the token's runtime data claims (see ``evidence.runtime_claims``). ``anchors``
    may be None only with ``skip_cert_verify``, which ignores them.
    """
    if rules.skip_cert_verify:
        anchors = None
    elif anchors is None:
        raise Refused(Code.TOKEN_UNTRUSTED, "there are no trust anchors")
    payload = verify_signature(token, anchors, now)
    expires_at = _check_times(payload, rules, now)
    if rules.issuer is not None and payload.get("iss") != rules.issuer:
        raise Refused(Code.TOKEN_ISSUER, "`iss` is not the configured issuer")
    appraisal = _appraise(payload)
    if not rules.policy_ids or not appraisal.policy_ids.issuperset(rules.policy_ids):
        raise Refused(
            Code.TOKEN_POLICY, f"not appraised by every policy of {', '.join(rules.policy_ids) or 'an empty list'}"
        )
    _check_claims(appraisal.runtime_claims, expected_claims)
    return Verdict(expires_at, tuple(sorted(appraisal.policy_ids)))


def _appraise(payload: Mapping[str, Any]) -> Appraisal:
    profile = payload.get("eat_profile")
    if profile == ear.PROFILE:
        return ear.appraise(payload)
    if "eat_profile" in payload or "submods" in payload:
        raise Refused(Code.TOKEN_PROFILE, "`eat_profile` is not the one of the CoCo trustee")
    return simple.appraise(payload)


def _check_times(payload: Mapping[str, object], rules: TokenRules, now: datetime) -> datetime | None:
    """RFC 7519, sections 4.1.4 to 4.1.6, each checked when present."""
    expires_at = _time(payload, "exp")
    if expires_at is None:
        if rules.require_exp:
            raise Refused(Code.TOKEN_TIME, "`exp` is missing")
    elif now >= expires_at + LEEWAY:
        raise Refused(Code.TOKEN_TIME, f"it ended at {expires_at:%Y-%m-%dT%H:%M:%SZ}")
    for name in ("nbf", "iat"):
        begin = _time(payload, name)
        if begin is not None and begin - now > LEEWAY:
            raise Refused(Code.TOKEN_TIME, f"`{name}` is {begin:%Y-%m-%dT%H:%M:%SZ}, which is ahead")
    return expires_at


def _time(payload: Mapping[str, object], name: str) -> datetime | None:
    if name not in payload:
        return None
    seconds = payload[name]
    # bool is a subclass of int, and true is not a time.
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 0 <= seconds <= _LAST_SECOND:
        raise Refused(Code.TOKEN_TIME, f"`{name}` is not a number of whole seconds")
    return datetime.fromtimestamp(seconds, UTC)


def _check_claims(claims: object, expected: Mapping[str, object]) -> None:
    if not isinstance(claims, dict):
        raise Refused(Code.TOKEN_CLAIMS, "the runtime data claims are missing")
    for name, value in expected.items():
        # As JSON texts, because 1 == True == 1.0 in Python.
        if name not in claims or json.dumps(claims[name], sort_keys=True) != json.dumps(value, sort_keys=True):
            raise Refused(Code.TOKEN_CLAIMS, f"`{name}` is missing or another one")
