"""The restful attestation service's language: the body of ``POST {as_addr}/attestation``, and what its answers mean.

Two dialects exist: the newer service takes a list of verification requests, the older one a single flat request, and
answers the newer form with an error that names the member it misses. Bytes only; the call itself is the caller's.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from enum import Enum
from typing import Any

from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, additional_evidence
from tng_runtime.attest.strict_json import canonical
from tng_runtime.errors import Refused

# The largest token (RA-TOKEN-SIZE) is 1 MiB too: nothing longer is worth reading.
MAX_ANSWER_BYTES = 1 << 20

_JWT = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# What an older service says (serde's wording) to a body without the members of the flat form.
_MISSES_TEE = b"missing field `tee`"
_WORD_CHARACTERS = 200
# Long runs of these are evidence, tokens or measurements, which no log may hold.
_ENCODED = re.compile(r"[A-Za-z0-9+/_=.-]{40,}")


class Dialect(Enum):
    """Which form of request the service takes."""

    LIST = "list"
    FLAT = "flat"


def attestation_request(evidence: CocoEvidence, policy_ids: Sequence[str], dialect: Dialect = Dialect.LIST) -> bytes:
    """The JSON body; raises ``Refused`` (RA-SERVICE-DIALECT) when the flat form would drop additional evidence."""
    additional = {} if evidence.additional is None else additional_evidence(evidence.additional)
    runtime_data = {"structured": json.loads(evidence.runtime_data)}
    main = _request(evidence.tee, evidence.evidence, runtime_data, evidence.hash_algorithm.label)
    if dialect is Dialect.LIST:
        requests = [main]
        for tee, value in additional.items():
            requests.append(_request(tee, canonical(value).encode("utf-8"), None, evidence.hash_algorithm.label))
        return _body({"verification_requests": requests, "policy_ids": list(policy_ids)})
    if additional:
        raise Refused(Code.SERVICE_DIALECT, "the service takes one piece of evidence, the peer shows several")
    return _body({**main, "init_data_hash_algorithm": None, "policy_ids": list(policy_ids)})


def wants_flat(status: int, body: bytes) -> bool:
    """Whether an answer to the list form means that the service only knows the flat one.

    Status and code decide: an error status, and in a text or problem+json body the member that the flat form has.
    """
    return status >= 400 and _MISSES_TEE in body[:MAX_ANSWER_BYTES]


def read_answer(status: int, body: bytes) -> str:
    """The token of an answer; raises ``Refused`` (RA-SERVICE-STATUS, RA-SERVICE-ANSWER, RA-SERVICE-SIZE)."""
    if len(body) > MAX_ANSWER_BYTES:
        raise Refused(Code.SERVICE_SIZE, f"more than {MAX_ANSWER_BYTES} bytes")
    if status != 200:
        raise Refused(Code.SERVICE_STATUS, f"status {status}: {service_word(body)}")
    if not _JWT.fullmatch(body):
        raise Refused(Code.SERVICE_ANSWER, f"{len(body)} bytes that are not a token")
    return body.decode("ascii")


def service_word(body: bytes) -> str:
    """An error body as one short printable line for a log: no control characters, no token, no evidence."""
    text = body[: 8 * _WORD_CHARACTERS].decode("utf-8", "replace")
    printable = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(_ENCODED.sub("…", printable).split())
    return line if len(line) <= _WORD_CHARACTERS else line[:_WORD_CHARACTERS] + "…"


def _request(tee: str, evidence: bytes, runtime_data: dict[str, Any] | None, hash_name: str) -> dict[str, Any]:
    return {
        "tee": tee,
        "evidence": base64.urlsafe_b64encode(evidence).rstrip(b"=").decode("ascii"),
        "runtime_data": runtime_data,
        "init_data": None,
        "runtime_data_hash_algorithm": hash_name,
    }


def _body(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode("ascii")
