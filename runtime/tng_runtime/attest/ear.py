"""The EAR form of a token (draft-ietf-rats-ear), as the CoCo trustee fills it.

Each ``submod`` is one attester of the machine: ``cpu0``, and devices beside it. All must be affirmed, by one and the
same policy, and the status must follow from the trustworthiness vector. A vector's values fall into tiers
(draft-ietf-rats-ar4si, section 2.3): 0 asserts nothing, 2 to 31 affirm, 32 to 95 warn, 96 to 127 contradict, negative
values mirror these, and 1 and -1 tell of a verifier that failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tng_runtime.attest.appraisal import Appraisal
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"

_CPU = "cpu0"
_EVIDENCE = "ear.veraison.annotated-evidence"
_AFFIRMING = range(2, 32)


def appraise(payload: Mapping[str, Any]) -> Appraisal:
    """The appraisal of a payload with :data:`PROFILE`; raises ``Refused`` (RA-TOKEN-SUBMODS, -STATUS, -POLICY,
    -CLAIMS).
    """
    submods = payload.get("submods")
    if not isinstance(submods, dict) or _CPU not in submods:
        raise Refused(Code.TOKEN_SUBMODS, f"`submods` is missing or without `{_CPU}`")
    policies = set()
    for name, submod in submods.items():
        if not isinstance(submod, dict):
            raise Refused(Code.TOKEN_SUBMODS, f"submod {name!r:.40} is not an object")
        _check_status(name, submod)
        policies.add(_policy(name, submod))
    if len(policies) != 1:
        raise Refused(Code.TOKEN_POLICY, "the submods were appraised by different policies")
    evidence = submods[_CPU].get(_EVIDENCE)
    if not isinstance(evidence, dict):
        raise Refused(Code.TOKEN_CLAIMS, f"`{_CPU}` has no annotated evidence")
    return Appraisal(frozenset(policies), evidence.get("runtime_data_claims"))


def _check_status(name: str, submod: Mapping[str, object]) -> None:
    if submod.get("ear.status") != "affirming":
        raise Refused(Code.TOKEN_STATUS, f"submod {name!r:.40} is not affirming")
    vector = submod.get("ear.trustworthiness-vector")
    if not isinstance(vector, dict):
        raise Refused(Code.TOKEN_STATUS, f"submod {name!r:.40} has no trustworthiness vector")
    asserted = {claim: value for claim, value in vector.items() if type(value) is not int or value != 0}
    for claim, value in asserted.items():
        if type(value) is not int or abs(value) not in _AFFIRMING:
            raise Refused(Code.TOKEN_STATUS, f"submod {name!r:.40} is affirming, its {claim!r:.40} is not")
    if not asserted:
        raise Refused(Code.TOKEN_STATUS, f"submod {name!r:.40} is affirming, its vector asserts nothing")


def _policy(name: str, submod: Mapping[str, object]) -> str:
    policy = submod.get("ear.appraisal-policy-id")
    if not isinstance(policy, str):
        raise Refused(Code.TOKEN_POLICY, f"submod {name!r:.40} names no policy")
    return policy
