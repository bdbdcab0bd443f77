"""Requests in both dialects, and what the service's answers mean."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from runtime.attest import makers
from tng_demo.sample_appraisal import appraise, read_requests
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import HashAlgorithm, report_data
from tng_runtime.attest.request import (
    MAX_ANSWER_BYTES,
    Dialect,
    attestation_request,
    read_answer,
    service_word,
    wants_flat,
)
from tng_runtime.errors import Refused

HONEST = makers.honest_evidence()
DEVICE = replace(HONEST, additional='{"sampledevice":{"svn":"\u00e9"}}'.encode())


def decoded(text: str) -> bytes:
    """base64url without padding, decoded."""
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def body(*args: Any) -> Any:
    """The request as JSON."""
    return json.loads(attestation_request(*args))


def test_the_list_form_is_the_protocols() -> None:
    """Member by member."""
    document = body(HONEST, ["default", "b"])
    assert document.keys() == {"verification_requests", "policy_ids"}
    assert document["policy_ids"] == ["default", "b"]
    [request] = document["verification_requests"]
    assert decoded(request.pop("evidence")) == HONEST.evidence
    assert request == {
        "tee": "sample",
        "runtime_data": {"structured": json.loads(HONEST.runtime_data)},
        "init_data": None,
        "runtime_data_hash_algorithm": "sha384",
    }


def test_additional_evidence_adds_requests_without_runtime_data() -> None:
    """One for each TEE."""
    first, second = body(DEVICE, ["default"])["verification_requests"]
    assert first["tee"] == "sample"
    assert (second["tee"], second["runtime_data"]) == ("sampledevice", None)
    assert json.loads(decoded(second["evidence"])) == {"svn": "\u00e9"}


def test_the_flat_form_is_the_older_services() -> None:
    """The same members side by side."""
    document = body(replace(HONEST, hash_algorithm=HashAlgorithm.SHA512), ["default"], Dialect.FLAT)
    assert decoded(document.pop("evidence")) == HONEST.evidence
    assert document == {
        "tee": "sample",
        "runtime_data": {"structured": json.loads(HONEST.runtime_data)},
        "runtime_data_hash_algorithm": "sha512",
        "init_data": None,
        "init_data_hash_algorithm": None,
        "policy_ids": ["default"],
    }


def test_the_flat_form_never_drops_additional_evidence() -> None:
    """An empty object is nothing to drop."""
    assert "tee" in body(replace(HONEST, additional=b"{}"), ["default"], Dialect.FLAT)
    with pytest.raises(Refused) as refusal:
        attestation_request(DEVICE, ["default"], Dialect.FLAT)
    assert refusal.value.code == Code.SERVICE_DIALECT


@pytest.mark.parametrize("dialect", Dialect)
def test_the_sample_service_appraises_either_form(dialect: Dialect) -> None:
    """The service computes the same report data from the structured runtime data."""
    reported = base64.b64encode(report_data(HONEST.runtime_data)).decode()
    evidence = replace(HONEST, evidence=json.dumps({"svn": "1", "report_data": reported}).encode())
    requests, policy_ids = read_requests(body(evidence, ["default"], dialect), dialect.value)
    assert policy_ids == ["default"]
    assert appraise(requests[0]).runtime_data == makers.expected_claims()


@pytest.mark.parametrize(
    ("status", "answer", "flat"),
    [
        (400, b"Json deserialize error: missing field `tee` at line 1 column 9", True),
        (422, b'{"type":"about:blank","status":422,"detail":"missing field `tee`"}', True),
        (500, b"missing field `tee`", True),
        (200, b"missing field `tee`", False),
        (400, b"missing field `policy_ids`", False),
        (400, b"", False),
    ],
)
def test_an_older_service_is_recognized(status: int, answer: bytes, flat: bool) -> None:
    """By status and by the member that it misses."""
    assert wants_flat(status, answer) is flat


def test_a_token_is_read_from_an_answer() -> None:
    """Exactly the body."""
    assert read_answer(200, b"ab.c-d.e_f") == "ab.c-d.e_f"


@pytest.mark.parametrize(
    ("status", "answer", "code"),
    [
        pytest.param(200, b"<html><body>Sign in</body></html>", Code.SERVICE_ANSWER, id="h58_html"),
        pytest.param(200, b"", Code.SERVICE_ANSWER, id="h58_empty"),
        pytest.param(200, b"a.b.c\n", Code.SERVICE_ANSWER, id="h58_a_line_end"),
        pytest.param(200, b'"a.b.c"', Code.SERVICE_ANSWER, id="h58_quoted"),
        pytest.param(200, b"\xff\xfe", Code.SERVICE_ANSWER, id="h58_bytes"),
        pytest.param(302, b"a.b.c", Code.SERVICE_STATUS, id="h58_redirect"),
        pytest.param(500, b"", Code.SERVICE_STATUS, id="h58_500"),
        pytest.param(204, b"a.b.c", Code.SERVICE_STATUS, id="h58_another_success"),
        pytest.param(200, b"a" * (MAX_ANSWER_BYTES + 1), Code.SERVICE_SIZE, id="h58_too_large"),
    ],
)
def test_other_answers_are_refused(status: int, answer: bytes, code: Code) -> None:
    """Whatever is not 200 with a token."""
    with pytest.raises(Refused) as refusal:
        read_answer(status, answer)
    assert refusal.value.code == code


def test_the_services_word_is_fit_for_a_log() -> None:
    """One line, printable, short, without tokens and evidence."""
    assert service_word(b"policy\n\x1b[31m  denied\xff") == "policy [31m denied\ufffd"
    assert service_word(b"bad: " + b"QUJD" * 30 + b" end") == "bad: … end"
    assert len(service_word(b"word " * 1000)) == 201
