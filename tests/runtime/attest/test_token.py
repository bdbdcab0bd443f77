"""Tokens that hold, at the limits of their times and claims, beside the catalogue of those that do not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from runtime.attest import makers
from runtime.attest.makers import NOW, POLICY, Authority, cpu, ear, ec_key, simple
from tng_runtime.attest.codes import Code
from tng_runtime.attest.token import TokenRules, Verdict, verify_token
from tng_runtime.errors import Refused

HONEST = Authority()
RULES = TokenRules((POLICY,))
SECONDS = int(NOW.timestamp())
END = NOW + timedelta(seconds=3000)


def verified(payload: dict[str, object], rules: TokenRules = RULES) -> Verdict:
    """The verdict over a payload that the honest service signed."""
    return verify_token(HONEST.token(payload), HONEST.anchors, rules, makers.expected_claims(), NOW)


def refused(payload: dict[str, object], rules: TokenRules = RULES) -> str:
    """The code with which it is refused."""
    with pytest.raises(Refused) as refusal:
        verified(payload, rules)
    return refusal.value.code


def test_both_forms_hold() -> None:
    """The verdict says until when, and by which policy."""
    assert verified(ear()) == Verdict(END, (POLICY,))
    assert verified(simple()) == Verdict(END, (POLICY,))


def test_several_submods_hold_when_all_are_affirmed() -> None:
    """A device's annotated evidence carries no runtime data, and need not."""
    device = cpu(**{"veraison.annotated_evidence": {"sampledevice": {}}})
    assert verified(ear(submods={"cpu0": cpu(), "gpu0": device})).policy_ids == (POLICY,)


def test_claims_without_assertion_do_not_weaken_an_affirmation() -> None:
    """The trustee's default policy writes 0, no assertion, for what it does not look at."""
    for vector in ({"hardware": 2, "file-system": 0}, {"hardware": -2, "executables": 31}):
        assert verified(ear(submods={"cpu0": cpu(trustworthiness_vector=vector)})).policy_ids == (POLICY,)


def test_times_hold_to_the_second() -> None:
    """Five seconds of leeway on either side, and the verdict ends without it."""
    assert verified(ear(exp=SECONDS - 4, nbf=SECONDS + 5, iat=SECONDS + 5)).expires_at == NOW - timedelta(seconds=4)
    assert refused(ear(exp=SECONDS - 5)) == Code.TOKEN_TIME
    assert verified({key: value for key, value in ear().items() if key not in {"iat", "nbf"}}).expires_at == END


def test_a_token_without_end_holds_unless_an_end_is_required() -> None:
    """In passport it is."""
    assert verified(ear(exp=None)).expires_at is None
    assert refused(ear(exp=None), TokenRules((POLICY,), require_exp=True)) == Code.TOKEN_TIME
    assert verified(ear(), TokenRules((POLICY,), require_exp=True)).expires_at == END


def test_the_issuer_is_compared_only_when_configured() -> None:
    """Tokens come with and without ``iss``."""
    rules = TokenRules((POLICY,), issuer="CoCo-Attestation-Service")
    assert verified(ear(iss="anybody")).policy_ids == (POLICY,)
    assert verified(ear(iss="CoCo-Attestation-Service"), rules).policy_ids == (POLICY,)
    assert refused(ear(iss="anybody"), rules) == Code.TOKEN_ISSUER
    assert refused(ear(), rules) == Code.TOKEN_ISSUER
    assert refused(ear(iss=["CoCo-Attestation-Service"]), rules) == Code.TOKEN_ISSUER


def test_every_policy_configured_must_have_appraised() -> None:
    """More than those configured is enough; fewer, or none configured, is not."""
    both = simple(**{"evaluation-reports": [{"policy-id": "b"}, {"policy-id": "a"}]})
    assert verified(both, TokenRules(("a",))).policy_ids == ("a", "b")
    assert verified(both, TokenRules(("a", "b"))).policy_ids == ("a", "b")
    assert refused(both, TokenRules(("a", "c"))) == Code.TOKEN_POLICY
    assert refused(both, TokenRules(())) == Code.TOKEN_POLICY


def test_a_stated_permission_is_accepted_in_all_its_places() -> None:
    """Older services state it beside the policy, as object or as text."""
    report = {"policy-id": POLICY, "allow": True, "evaluation-result": {"allow": True}}
    text = {"policy-id": "other", "evaluation-result": '{"allow":true}'}
    assert verified(simple(allow=True, **{"evaluation-reports": [report, text]})).policy_ids == (POLICY, "other")


def test_claims_are_compared_with_their_types() -> None:
    """1 is not true."""
    token = HONEST.token(simple(customized_claims={"runtime_data": {"a": 1, "b": 2}}))
    verify_token(token, HONEST.anchors, RULES, {"a": 1}, NOW)
    with pytest.raises(Refused) as refusal:
        verify_token(token, HONEST.anchors, RULES, {"a": True}, NOW)
    assert refusal.value.code == Code.TOKEN_CLAIMS


def test_skip_cert_verify_believes_any_signer() -> None:
    """Which is why it is warned about; everything else is still checked, and anchors are ignored."""
    stranger = Authority(key=ec_key("stranger"), root_key=ec_key("other"))
    rules = TokenRules((POLICY,), skip_cert_verify=True)
    for anchors in (None, HONEST.anchors):
        verdict = verify_token(stranger.token(ear()), anchors, rules, makers.expected_claims(), NOW)
        assert verdict.policy_ids == (POLICY,)
        with pytest.raises(Refused) as refusal:
            verify_token(stranger.token(ear(exp=1)), anchors, rules, makers.expected_claims(), NOW)
        assert refusal.value.code == Code.TOKEN_TIME


def test_without_anchors_nothing_is_trusted() -> None:
    """A caller that has none must not get a verdict by omission."""
    with pytest.raises(Refused) as refusal:
        verify_token(HONEST.token(ear()), None, RULES, makers.expected_claims(), NOW)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED
