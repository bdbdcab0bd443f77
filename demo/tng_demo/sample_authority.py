"""The sample service's certification authority and its tokens. They prove nothing: the key lies open.

Tokens follow CoCo trustee: a JWT (ES256) whose header carries the signer's key as ``jwk`` with its
chain in ``x5c``, leaf first.
EAR claims follow draft-ietf-rats-ear; the simple form is what trustee issued before it.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

Base64Form = Literal["url", "standard"]
PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
AFFIRMING = {"configuration": 2, "executables": 3, "file-system": 2, "hardware": 2}
CONTRAINDICATED = {"configuration": 2, "executables": 33, "file-system": 2, "hardware": 97}
CLOCK_SLACK = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA, and the signer of tokens that it certified."""

    ca: x509.Certificate
    signer: x509.Certificate
    signer_key: ec.EllipticCurvePrivateKey

    @property
    def ca_pem(self) -> bytes:
        """What a verifier may pin in ``trusted_certs_paths``."""
        return self.ca.public_bytes(serialization.Encoding.PEM)

    @property
    def chain_pem(self) -> bytes:
        """What ``GET /certificate`` answers: signer, then CA."""
        return self.signer.public_bytes(serialization.Encoding.PEM) + self.ca_pem

    def sign(self, claims: Mapping[str, Any], x5c: Base64Form = "url") -> str:
        """A token over ``claims``, its header naming this authority's signer."""
        header = {"typ": "JWT", "alg": "ES256", "jwk": self._jwk(x5c)}
        signed = b64url(json.dumps(header).encode()) + "." + b64url(json.dumps(claims).encode())
        r, s = decode_dss_signature(self.signer_key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return signed + "." + b64url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))

    def _jwk(self, form: Base64Form) -> dict[str, Any]:
        numbers = self.signer_key.public_key().public_numbers()
        chain = [cert.public_bytes(serialization.Encoding.DER) for cert in (self.signer, self.ca)]
        return {
            "alg": "ES256",
            "kty": "EC",
            "crv": "P-256",
            "x": b64url(numbers.x.to_bytes(32, "big")),
            "y": b64url(numbers.y.to_bytes(32, "big")),
            "x5c": [b64url(der) if form == "url" else base64.b64encode(der).decode() for der in chain],
        }


def create_authority() -> Authority:
    """A new CA and signer, valid for thirty days."""
    ca_key, signer_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("Sample CA, proves nothing"), _name("Sample token signer, proves nothing")
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(certifies=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    signer = (
        _builder(name, ca_name, signer_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certifies=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return Authority(ca, signer, signer_key)


def load_or_create(directory: Path) -> Authority:
    """The authority kept in ``directory``; made on first use. ``ca.pem`` in it is what a verifier may pin."""
    chain, key = directory / "chain.pem", directory / "signer.key"
    if chain.exists():
        signer, ca = x509.load_pem_x509_certificates(chain.read_bytes())
        signer_key = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(signer_key, ec.EllipticCurvePrivateKey)
        return Authority(ca, signer, signer_key)
    authority = create_authority()
    directory.mkdir(parents=True, exist_ok=True)
    pem = authority.signer_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key.touch(mode=0o600)
    key.write_bytes(pem)
    (directory / "ca.pem").write_bytes(authority.ca_pem)
    chain.write_bytes(authority.chain_pem)
    return authority


def ear_claims(submods: Mapping[str, Any], now: dt.datetime, lifetime: int, issuer: str | None) -> dict[str, Any]:
    """The claims of an EAR token; ``lifetime`` in seconds."""
    verifier = {"developer": "tng sample, proves nothing", "build": "sample"}
    return {"eat_profile": PROFILE, "ear.verifier-id": verifier, "submods": submods, **_times(now, lifetime, issuer)}


def submod(affirming: bool, policy_id: str, evidence: Mapping[str, Any], runtime_data: object) -> dict[str, Any]:
    """One appraisal inside an EAR token."""
    return {
        "ear.status": "affirming" if affirming else "contraindicated",
        "ear.trustworthiness-vector": AFFIRMING if affirming else CONTRAINDICATED,
        "ear.appraisal-policy-id": policy_id,
        "ear.veraison.annotated-evidence": {
            "init_data": None,
            "init_data_claims": None,
            "report_data": evidence.get("report_data", ""),
            "runtime_data_claims": runtime_data,
            "sample": {"svn": evidence.get("svn")},
        },
    }


def simple_claims(
    policy_ids: list[str], runtime_data: object, now: dt.datetime, lifetime: int, issuer: str | None
) -> dict[str, Any]:
    """The claims of a token in the simple form."""
    reports = [{"policy-id": policy_id, "policy-hash": "00" * 48} for policy_id in policy_ids]
    return {
        "customized_claims": {"init_data": None, "runtime_data": runtime_data},
        "evaluation-reports": reports,
        "tcb-status": json.dumps({"svn": "1"}),
        "tee": "sample",
        **_times(now, lifetime, issuer),
    }


def b64url(data: bytes) -> str:
    """base64url without padding (RFC 7515, section 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _times(now: dt.datetime, lifetime: int, issuer: str | None) -> dict[str, Any]:
    issued = int(now.timestamp())
    times: dict[str, Any] = {"iat": issued, "nbf": issued, "exp": issued + lifetime}
    return times if issuer is None else {**times, "iss": issuer}


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + dt.timedelta(days=30))
    )


def _usage(certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certifies,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certifies,
        crl_sign=certifies,
        encipher_only=False,
        decipher_only=False,
    )
