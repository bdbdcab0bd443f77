"""The simple form of a token: an older trustee's, which has no submods and issues nothing for a peer that a policy
denied.

Some versions state the outcome beside the policy (``allow``, or JSON in ``evaluation-result``): whatever is stated
must be true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tng_runtime.attest import strict_json
from tng_runtime.attest.appraisal import Appraisal
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused


def appraise(payload: Mapping[str, Any]) -> Appraisal:
    """The appraisal of a payload without profile; raises ``Refused`` (RA-TOKEN-STATUS, -POLICY, -CLAIMS)."""
    _check_allowed(payload)
    reports = payload.get("evaluation-reports")
    if not isinstance(reports, list):
        raise Refused(Code.TOKEN_POLICY, "`evaluation-reports` is missing")
    policies = frozenset(_policy(report) for report in reports)
    claims = payload.get("customized_claims")
    if not isinstance(claims, dict):
        raise Refused(Code.TOKEN_CLAIMS, "`customized_claims` is missing")
    return Appraisal(policies, claims.get("runtime_data"))


def _policy(report: object) -> str:
    if not isinstance(report, dict) or not isinstance(report.get("policy-id"), str):
        raise Refused(Code.TOKEN_POLICY, "an evaluation report names no policy")
    _check_allowed(report)
    result = report.get("evaluation-result", {})
    if isinstance(result, str):
        result = strict_json.parse(result, Code.TOKEN_STATUS, "an evaluation result")
    if not isinstance(result, dict):
        raise Refused(Code.TOKEN_STATUS, "an evaluation result is not an object")
    _check_allowed(result)
    policy: str = report["policy-id"]
    return policy


def _check_allowed(stated: Mapping[str, object]) -> None:
    if stated.get("allow", True) is not True:
        raise Refused(Code.TOKEN_STATUS, "the service states that the peer is not allowed")
