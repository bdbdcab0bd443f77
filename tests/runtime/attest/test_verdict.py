"""The order of a verification and the end of its verdict."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from runtime.attest import makers
from runtime.attest.makers import HOUR, NOW, POLICY, Authority, ear
from tng_runtime.attest.codes import Code
from tng_runtime.attest.verdict import Rules, conclude, examine
from tng_runtime.errors import Refused
from tng_runtime.manifest import Service, Verify

HONEST = Authority()
BACKGROUND = Rules("background_check", (POLICY,))
PASSPORT = Rules("passport", (POLICY,))
SECOND = timedelta(seconds=1)


def peer(**oddities: Any) -> list[bytes]:
    """A peer with honest evidence."""
    return [makers.peer_certificate(makers.fields_value(), **oddities)]


def passport(token: str) -> list[bytes]:
    """A peer that shows this token."""
    return [makers.peer_certificate(makers.evidence_value(token.encode(), 0xC0C001))]


def test_rules_come_from_the_manifest() -> None:
    """Field by field."""
    verify = Verify(
        model="passport",
        service=Service("http://127.0.0.1:8081/", ()),
        policy_ids=("a", "b"),
        trusted_certs_paths=(),
        skip_as_token_cert_verify=True,
        issuer="me",
        max_session_age=None,
    )
    assert Rules.of(verify) == Rules("passport", ("a", "b"), "me", skip_cert_verify=True)
    assert hash(Rules.of(verify)) == hash(Rules("passport", ("a", "b"), "me", skip_cert_verify=True))


def test_a_verdict_ends_with_what_ends_first() -> None:
    """The token, the certificate, or the certificate when the token has no end."""
    presented = examine(peer(), BACKGROUND, NOW)
    short = conclude(presented, HONEST.token(ear()), HONEST.anchors, BACKGROUND, NOW)
    assert short.expires_at == NOW + 3000 * SECOND
    late = HONEST.token(ear(exp=int((NOW + 2 * HOUR).timestamp())))
    assert conclude(presented, late, HONEST.anchors, BACKGROUND, NOW).expires_at == NOW + HOUR
    assert conclude(presented, HONEST.token(ear(exp=None)), HONEST.anchors, BACKGROUND, NOW).expires_at == NOW + HOUR


def test_a_passport_must_end() -> None:
    """In a peer's own hands a token without end would hold for ever."""
    presented = examine(passport(HONEST.token(ear(exp=None))), PASSPORT, NOW)
    with pytest.raises(Refused) as refusal:
        conclude(presented, None, HONEST.anchors, PASSPORT, NOW)
    assert refusal.value.code == Code.TOKEN_TIME


def test_in_passport_only_the_certificates_token_counts() -> None:
    """A token from elsewhere is not looked at."""
    presented = examine(passport("not.a.token"), PASSPORT, NOW)
    with pytest.raises(Refused) as refusal:
        conclude(presented, HONEST.token(ear()), HONEST.anchors, PASSPORT, NOW)
    assert refusal.value.code == Code.TOKEN_FORM


def test_a_certificate_that_ends_during_the_verification_is_refused() -> None:
    """The service took its time."""
    presented = examine(peer(end=NOW + SECOND), BACKGROUND, NOW)
    token = HONEST.token(ear())
    assert conclude(presented, token, HONEST.anchors, BACKGROUND, NOW + SECOND).expires_at == NOW + SECOND
    with pytest.raises(Refused) as refusal:
        conclude(presented, token, HONEST.anchors, BACKGROUND, NOW + 2 * SECOND)
    assert refusal.value.code == Code.CERT_DATES


def test_steps_taken_in_another_order_are_refused() -> None:
    """No answer yet, evidence concluded as a passport."""
    evidence = examine(peer(), BACKGROUND, NOW)
    for token, rules in ((None, BACKGROUND), (HONEST.token(ear()), PASSPORT)):
        with pytest.raises(Refused) as refusal:
            conclude(evidence, token, HONEST.anchors, rules, NOW)
        assert refusal.value.code == Code.EVIDENCE_MODEL


def test_skipping_the_chain_needs_no_anchors() -> None:
    """As configured by ``skip_as_token_cert_verify``."""
    presented = examine(peer(), BACKGROUND, NOW)
    stranger = Authority(root_key=makers.ec_key("other"))
    rules = replace(BACKGROUND, skip_cert_verify=True)
    assert conclude(presented, stranger.token(ear()), None, rules, NOW).policy_ids == (POLICY,)
    with pytest.raises(Refused) as refusal:
        conclude(presented, stranger.token(ear()), None, BACKGROUND, NOW)
    assert refusal.value.code == Code.TOKEN_UNTRUSTED
