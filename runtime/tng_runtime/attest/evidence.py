"""The evidence extension's value: two kinds, each CBOR, each bound to the certificate's key.

The value of extension 2.23.133.5.4.9 is ``tag([bytes(evidence), bytes("")])``. The tag says what ``evidence`` is: a
CBOR map with what the TEE's agent answered (background check), or a token as ASCII (passport). The binding to the key
goes through the runtime data: canonical JSON (RFC 8785) of the one claim ``pubkey-hash``, whose hash the TEE signed
as report data. Because exactly one text is right for a given key, it is compared whole.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tng_runtime.attest import cbor, strict_json
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

TAG_EVIDENCE = 0xC0C000
TAG_TOKEN = 0xC0C001

_PUBKEY_HASH = "pubkey-hash"
_SHA256_OF_CBOR_HASH = 1
# What each member of the evidence map must be.
_FIELDS: dict[str, Callable[[cbor.Reader], str | bytes | int | None]] = {
    "tee_type": cbor.Reader.text,
    "aa_evidence": cbor.Reader.byte_string,
    "aa_additional_evidence": cbor.Reader.byte_string_or_null,
    "aa_runtime_data": cbor.Reader.text,
    "aa_runtime_data_hash_algo": cbor.Reader.uint,
}
_TEE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
_TEE_LENGTH = 32
# Of additional evidence, each of which is a request to the service. A host has one CPU's and a few devices'.
MAX_ADDITIONAL = 16
# Longer runtime data is wrong anyway and not worth the parsing that tells how.
_DIAGNOSED = 1024


class HashAlgorithm(Enum):
    """The hash of the runtime data: its number in the evidence and its name in the service's request."""

    SHA256 = (1, "sha256")
    SHA384 = (7, "sha384")
    SHA512 = (8, "sha512")

    def __init__(self, number: int, label: str) -> None:
        self.number = number
        self.label = label


@dataclass(frozen=True, slots=True)
class CocoEvidence:
    """Evidence for a background check, as the CoCo agent gave it.

    ``evidence`` is opaque bytes for the service; ``additional`` is a JSON object of evidence by TEE, or None;
    ``runtime_data`` is the canonical JSON that :func:`runtime_data` builds.
    """

    tee: str
    evidence: bytes
    additional: bytes | None
    runtime_data: str
    hash_algorithm: HashAlgorithm = HashAlgorithm.SHA384


@dataclass(frozen=True, slots=True)
class CocoToken:
    """A token (JWT, ASCII) that the peer fetched itself: passport."""

    token: str


Evidence = CocoEvidence | CocoToken


def runtime_claims(spki_sha256: bytes) -> dict[str, str]:
    """The claims that bind evidence to a key: ``pubkey-hash`` = base64(CBOR([1, SHA-256 of the
    SubjectPublicKeyInfo])).
    """
    digest = cbor.array(cbor.uint(_SHA256_OF_CBOR_HASH), cbor.byte_string(spki_sha256))
    return {_PUBKEY_HASH: base64.b64encode(digest).decode("ascii")}


def runtime_data(spki_sha256: bytes) -> str:
    """The runtime data of a key: canonical JSON of :func:`runtime_claims`."""
    return json.dumps(runtime_claims(spki_sha256), sort_keys=True, separators=(",", ":"))


def report_data(runtime: str, algorithm: HashAlgorithm = HashAlgorithm.SHA384) -> bytes:
    """What the agent is asked to have signed: the raw hash of the runtime data, 48 bytes for SHA-384."""
    return hashlib.new(algorithm.label, runtime.encode("utf-8")).digest()


def encode(evidence: Evidence) -> bytes:
    """The value of the evidence extension."""
    if isinstance(evidence, CocoToken):
        return _tagged(TAG_TOKEN, evidence.token.encode("ascii"))
    fields = {
        "tee_type": cbor.text(evidence.tee),
        "aa_evidence": cbor.byte_string(evidence.evidence),
        "aa_additional_evidence": cbor.NULL if evidence.additional is None else cbor.byte_string(evidence.additional),
        "aa_runtime_data": cbor.text(evidence.runtime_data),
        "aa_runtime_data_hash_algo": cbor.uint(evidence.hash_algorithm.number),
    }
    return _tagged(TAG_EVIDENCE, cbor.text_map(fields))


def decode(value: bytes, spki_sha256: bytes) -> Evidence:
    """Read the value of the evidence extension of a certificate whose key has that digest (32 bytes).

    Raises ``Refused``: RA-EVIDENCE-FORM, -TAG, -HASH, -ADDITIONAL, RA-RUNTIME-DATA-FORM, -CLAIMS, RA-KEY-BINDING.
    """
    outer = cbor.Reader(value)
    tag = outer.tag()
    if tag not in (TAG_EVIDENCE, TAG_TOKEN):
        raise Refused(Code.EVIDENCE_TAG, f"tag {tag:#x}")
    if (count := outer.array()) != 2:
        raise Refused(Code.EVIDENCE_FORM, f"an array of {count} items instead of 2")
    inner = outer.byte_string()
    if outer.byte_string():
        raise Refused(Code.EVIDENCE_FORM, "the second item is not empty")
    outer.end()
    if tag == TAG_TOKEN:
        return _token(inner)
    evidence = _coco_evidence(inner)
    check_runtime_data(evidence.runtime_data, spki_sha256)
    return evidence


def check_runtime_data(text: str, spki_sha256: bytes) -> None:
    """The runtime data must be, byte for byte, the one of this key. What differs decides the code of the
    ``Refused``.
    """
    expected = runtime_data(spki_sha256)
    if text == expected:
        return
    if len(text) > _DIAGNOSED:
        raise Refused(Code.RUNTIME_DATA_FORM, f"the runtime data has {len(text)} characters instead of {len(expected)}")
    claims = strict_json.parse(text, Code.RUNTIME_DATA_FORM, "the runtime data")
    if strict_json.canonical(claims) != text:
        raise Refused(Code.RUNTIME_DATA_FORM, "the runtime data is not canonical JSON")
    if not isinstance(claims, dict) or set(claims) != {_PUBKEY_HASH} or not isinstance(claims[_PUBKEY_HASH], str):
        raise Refused(Code.RUNTIME_DATA_CLAIMS, f"the runtime data is not exactly one textual {_PUBKEY_HASH}")
    raise Refused(Code.KEY_BINDING, "the runtime data names another key than the certificate's")


def additional_evidence(document: bytes) -> dict[str, object]:
    """Evidence by TEE name, from ``CocoEvidence.additional``; raises ``Refused`` (RA-EVIDENCE-ADDITIONAL)."""
    by_tee: dict[str, object] = strict_json.parse_small_object(
        document, MAX_ADDITIONAL, Code.EVIDENCE_ADDITIONAL, "the additional evidence"
    )
    if not all(_is_tee(tee) for tee in by_tee):
        raise Refused(Code.EVIDENCE_ADDITIONAL, "a member of the additional evidence is not the name of a TEE")
    return by_tee


def _tagged(tag: int, inner: bytes) -> bytes:
    return cbor.tagged(tag, cbor.array(cbor.byte_string(inner), cbor.byte_string(b"")))


def _token(inner: bytes) -> CocoToken:
    try:
        return CocoToken(inner.decode("ascii"))
    except UnicodeDecodeError:
        raise Refused(Code.TOKEN_FORM, "the token is not ASCII") from None


def _coco_evidence(inner: bytes) -> CocoEvidence:
    reader = cbor.Reader(inner)
    if (count := reader.map()) != len(_FIELDS):
        raise Refused(Code.EVIDENCE_FORM, f"a map of {count} members instead of {len(_FIELDS)}")
    values: dict[str, Any] = {}
    for _ in _FIELDS:
        name = reader.text()
        if name in values or name not in _FIELDS:
            raise Refused(Code.EVIDENCE_FORM, "a member occurs twice or is not known to the protocol")
        values[name] = _FIELDS[name](reader)
    reader.end()
    evidence = CocoEvidence(
        tee=values["tee_type"],
        evidence=values["aa_evidence"],
        additional=values["aa_additional_evidence"],
        runtime_data=values["aa_runtime_data"],
        hash_algorithm=_algorithm(values["aa_runtime_data_hash_algo"]),
    )
    if not _is_tee(evidence.tee):
        raise Refused(Code.EVIDENCE_FORM, "tee_type is not the name of a TEE")
    if evidence.additional is not None:
        additional_evidence(evidence.additional)
    return evidence


def _algorithm(number: int) -> HashAlgorithm:
    for algorithm in HashAlgorithm:
        if algorithm.number == number:
            return algorithm
    raise Refused(Code.EVIDENCE_HASH, f"hash algorithm {number}")


def _is_tee(name: str) -> bool:
    return 0 < len(name) <= _TEE_LENGTH and _TEE_CHARACTERS.issuperset(name)
