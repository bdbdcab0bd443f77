"""How the sample service appraises ``sample`` evidence, and how it reads both dialects of a restful-as request.

The only check is the one that binds: ``report_data`` must be the hash of the runtime data.
Whether the evidence is *good* is a setting of the service.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
TEES = ("sample", "sampledevice")


class BadRequestError(Exception):
    """A request that the service does not understand, or evidence that it does not believe."""


@dataclass(frozen=True, slots=True)
class Appraised:
    """Evidence that verified: its class (``cpu`` or ``gpu``), its claims, and the runtime data bound to it."""

    kind: str
    evidence: Mapping[str, Any]
    runtime_data: object


def read_requests(document: object, dialect: str) -> tuple[list[Mapping[str, Any]], list[str]]:
    """The verification requests and policy ids of a body; ``dialect`` is ``list`` or ``flat``.

    Raises ``BadRequestError`` in the words of the service of that age.
    """
    if not isinstance(document, dict):
        raise BadRequestError("Json deserialize error: expected an object")
    policy_ids = document.get("policy_ids")
    if not isinstance(policy_ids, list) or not all(isinstance(name, str) for name in policy_ids):
        raise BadRequestError("Json deserialize error: missing field `policy_ids`")
    if dialect == "flat":
        if "tee" not in document:
            raise BadRequestError("Json deserialize error: missing field `tee` at line 1 column 1")
        return [document], policy_ids
    requests = document.get("verification_requests")
    if not isinstance(requests, list) or not requests or not all(isinstance(item, dict) for item in requests):
        raise BadRequestError("Json deserialize error: missing field `verification_requests`")
    return requests, policy_ids


def appraise(request: Mapping[str, Any]) -> Appraised:
    """Verify one request's evidence; raises ``BadRequestError`` with the reason."""
    tee = request.get("tee")
    if tee not in TEES:
        raise BadRequestError(f"no verifier for TEE {tee!r}: this service knows {', '.join(TEES)} and proves nothing")
    evidence = _evidence(request.get("evidence"))
    name = request.get("runtime_data_hash_algorithm") or "sha384"
    if name not in HASHES:
        raise BadRequestError(f"unknown hash algorithm {name!r}")
    runtime_data = request.get("runtime_data")
    if runtime_data is None:
        return Appraised(_kind(tee), evidence, None)
    hashed, claims = _runtime_data(runtime_data)
    try:
        reported = base64.b64decode(evidence["report_data"], validate=True)
    except (KeyError, TypeError, binascii.Error):
        raise BadRequestError("the evidence has no report_data") from None
    if reported.rstrip(b"\0") != HASHES[name](hashed).digest().rstrip(b"\0"):
        raise BadRequestError("the evidence's report_data is not the hash of the runtime data")
    return Appraised(_kind(tee), evidence, claims)


def _kind(tee: str) -> str:
    return "cpu" if tee == "sample" else "gpu"


def _evidence(value: object) -> Mapping[str, Any]:
    try:
        assert isinstance(value, str)
        document = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
        assert isinstance(document, dict)
    except (AssertionError, ValueError):
        raise BadRequestError("the evidence is not base64url of a JSON object") from None
    return document


def _runtime_data(value: object) -> tuple[bytes, object]:
    if isinstance(value, dict) and "structured" in value:
        text = json.dumps(value["structured"], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return text.encode(), value["structured"]
    if isinstance(value, dict) and isinstance(value.get("raw"), str):
        return base64.urlsafe_b64decode(value["raw"] + "=" * (-len(value["raw"]) % 4)), None
    raise BadRequestError("runtime_data is neither structured nor raw")
