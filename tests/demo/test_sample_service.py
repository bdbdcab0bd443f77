"""The sample service as a program, its two dialects, and its tokens as strangers verify them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tng_demo.process import Process
from tng_demo.sample_agent import evidence
from tng_demo.sample_service import SampleService

CLAIMS = {"pubkey-hash": "ggFYIA=="}
DIGEST = hashlib.sha384(b'{"pubkey-hash":"ggFYIA=="}').digest()


def call(url: str, method: str, path: str, document: object = None) -> tuple[int, str, str]:
    """Status, content type and body of one call."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    connection.request(method, path, None if document is None else json.dumps(document))
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, response.headers["Content-Type"], body


def one(report_data: bytes = DIGEST, tee: str = "sample") -> dict[str, Any]:
    return {
        "tee": tee,
        "evidence": base64.urlsafe_b64encode(evidence(report_data)).rstrip(b"=").decode(),
        "runtime_data": {"structured": CLAIMS},
        "runtime_data_hash_algorithm": "sha384",
    }


def asked(*requests: dict[str, Any], policy: str = "default") -> dict[str, Any]:
    return {"verification_requests": list(requests), "policy_ids": [policy]}


def decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def verified(token: str, ca: x509.Certificate) -> dict[str, Any]:
    """The claims of a token whose leaf is signed by ``ca`` and signed it."""
    header, payload, signature = token.split(".")
    jwk = json.loads(decoded(header))["jwk"]
    leaf = x509.load_der_x509_certificate(decoded(jwk["x5c"][0]))
    leaf.verify_directly_issued_by(ca)
    key = leaf.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.public_numbers().x == int.from_bytes(decoded(jwk["x"]))
    raw = decoded(signature)
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    key.verify(der, f"{header}.{payload}".encode(), ec.ECDSA(hashes.SHA256()))
    claims = json.loads(decoded(payload))
    assert isinstance(claims, dict)
    return claims


def test_the_program_says_loudly_that_it_proves_nothing_and_keeps_its_ca(tmp_path: Path) -> None:
    """Twice with one ``--state``: on both families, steered over HTTP, ending on SIGTERM."""
    seen = set()
    listen = ("--listen", "127.0.0.1:0", "--listen", "[::1]:0", "--state", str(tmp_path / "state"))
    for number in range(2):
        process = Process.start([sys.executable, "-m", "tng_demo.sample_service", *listen], tmp_path / f"log{number}")
        try:
            urls = process.wait_for(r"listening on (\S+) (\S+)")
            assert "THIS PROVES NOTHING" in process.output()
            assert urls[2].startswith("http://[::1]:")
            for url in (urls[1], urls[2]):
                seen.add(call(url, "GET", "/certificate")[2])
            assert call(urls[1], "POST", "/sample/settings", {"affirming": False})[0] == 200
            assert json.loads(call(urls[2], "GET", "/sample/settings")[2])["affirming"] is False
        finally:
            assert process.stop() in (0, -signal.SIGTERM)
    assert len(seen) == 1
    assert (tmp_path / "state" / "ca.pem").read_text() in seen.pop()


def test_a_token_follows_ear_and_is_signed_under_the_ca_that_certificate_shows() -> None:
    with SampleService() as service:
        chain = x509.load_pem_x509_certificates(call(service.url, "GET", "/certificate")[2].encode())
        status, _, token = call(service.url, "POST", "/attestation", asked(one()))
    claims = verified(token, chain[-1])
    cpu = claims["submods"]["cpu0"]
    assert status == 200
    assert claims["eat_profile"] == "tag:github.com,2024:confidential-containers/Trustee"
    assert claims["iat"] == claims["nbf"] == claims["exp"] - 300
    assert (cpu["ear.status"], cpu["ear.appraisal-policy-id"]) == ("affirming", "default")
    assert cpu["ear.veraison.annotated-evidence"]["runtime_data_claims"] == CLAIMS


def test_a_status_that_is_not_affirming_agrees_with_its_vector() -> None:
    """draft-ietf-rats-ar4si: claims from 96 on are contraindicated."""
    with SampleService() as service:
        service.change(affirming=False)
        cpu = verified(service.attest(asked(one())), service.authority.ca)["submods"]["cpu0"]
    assert cpu["ear.status"] == "contraindicated"
    assert max(cpu["ear.trustworthiness-vector"].values()) >= 96


def test_the_simple_form_carries_the_claims_and_the_policy() -> None:
    with SampleService() as service:
        service.change(form="simple")
        claims = verified(service.attest(asked(one())), service.authority.ca)
    assert claims["customized_claims"]["runtime_data"] == CLAIMS
    assert [report["policy-id"] for report in claims["evaluation-reports"]] == ["default"]
    assert "eat_profile" not in claims


def test_a_further_device_has_a_submod_of_its_own() -> None:
    device = {**one(b""), "tee": "sampledevice", "runtime_data": None, "runtime_data_hash_algorithm": None}
    with SampleService() as service:
        service.change(devices=False)
        submods = verified(service.attest(asked(one(), device)), service.authority.ca)["submods"]
    assert {name: item["ear.status"] for name, item in submods.items()} == {
        "cpu0": "affirming",
        "gpu0": "contraindicated",
    }


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(asked(one(b"\0" * 48)), "not the hash of the runtime data", id="other-report-data"),
        pytest.param(asked(one(tee="tdx")), "no verifier for TEE 'tdx'", id="other-tee"),
        pytest.param(asked({**one(), "evidence": "e30"}), "no report_data", id="no-report-data"),
        pytest.param(asked(one(), policy="other"), "no policy 'other'", id="unknown-policy"),
        pytest.param(asked(), "verification_requests", id="no-request"),
        pytest.param({"policy_ids": ["default"], **one()}, "verification_requests", id="flat-form"),
    ],
)
def test_what_it_cannot_verify_is_a_problem_with_its_reason(body: object, problem: str) -> None:
    with SampleService() as service:
        status, kind, answer = call(service.url, "POST", "/attestation", body)
    assert (status, kind) == (400, "application/problem+json")
    assert problem in json.loads(answer)["detail"]


def test_the_older_dialect_names_what_it_misses_as_text_and_takes_the_flat_form() -> None:
    with SampleService() as service:
        service.change(dialect="flat")
        status, kind, answer = call(service.url, "POST", "/attestation", asked(one()))
        assert (status, kind) == (400, "text/plain")
        assert "missing field `tee`" in answer
        assert call(service.url, "POST", "//attestation", {"policy_ids": ["default"], **one()})[0] == 200


def test_a_challenge_is_a_nonce_in_a_token() -> None:
    with SampleService() as service:
        challenge = json.loads(call(service.url, "POST", "/challenge", {})[2])
        claims = verified(challenge["extra_params"]["jwt"], service.authority.ca)
    assert claims["nonce"] == challenge["nonce"]


@pytest.mark.parametrize("members", [{"affirming": "yes"}, {"nonsense": 1}, ["affirming"]])
def test_a_setting_that_does_not_exist_is_refused(members: object) -> None:
    with SampleService() as service:
        assert call(service.url, "POST", "/sample/settings", members)[0] == 400
        assert service.settings.affirming is True


def test_what_is_not_there_is_not_found() -> None:
    with SampleService() as service:
        assert call(service.url, "GET", "/")[0] == 404
        assert call(service.url, "POST", "/policy", {})[0] == 404
