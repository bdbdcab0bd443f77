"""Every door through which foreign bytes enter ``attest/`` and the agent's client, for hypothesis and for atheris.

An entry takes bytes and returns, or raises ``Refused``. The ``unsigned`` entries cross the signature: their bytes
become the payload of a token by a trusted service, or the evidence of a well-signed certificate, where a fuzzer would
never get by itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from runtime.attest import makers
from runtime.attest.makers import NOW, Authority, ec_key
from tng_demo import sample_ttrpc
from tng_demo.sample_authority import b64url
from tng_runtime.attest.anchors import read_anchors
from tng_runtime.attest.base64_strict import decode_either
from tng_runtime.attest.certificate import read_certificate
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, decode
from tng_runtime.attest.request import attestation_request, read_answer, service_word, wants_flat
from tng_runtime.attest.strict_json import parse
from tng_runtime.attest.token import TokenRules, verify_token
from tng_runtime.errors import Refused
from tng_runtime.tunnel import ttrpc

_HONEST = Authority()
_RSA = Authority(key=makers.rsa_key(), alg="RS384")
_ANCHORS = _HONEST.anchors
_RULES = TokenRules((makers.POLICY,))
_SKIPPING = TokenRules((makers.POLICY,), skip_cert_verify=True)
_SPKI = makers.spki_digest(ec_key())


def certificate(data: bytes) -> None:
    """A peer's certificate, to the request for its evidence."""
    presented = read_certificate(data, NOW)
    if isinstance(presented.evidence, CocoEvidence):
        attestation_request(presented.evidence, [makers.POLICY])


def evidence(data: bytes) -> None:
    """The value of the evidence extension."""
    found = decode(data, _SPKI)
    if isinstance(found, CocoEvidence):
        attestation_request(found, [makers.POLICY])


def unsigned_certificate(data: bytes) -> None:
    """Extensions (DER) in a certificate that is then signed."""
    odd = makers.rebuilt(_CERTIFICATE, ec_key(), lambda tbs: [*tbs[:-1], makers.tlv(0xA3, data)])
    certificate(odd)


def token(data: bytes) -> None:
    """A token under trust anchors, and under the header's own key."""
    refusals = 0
    for anchors, rules in ((_ANCHORS, _RULES), (None, _SKIPPING)):
        try:
            verify_token(data, anchors, rules, makers.expected_claims(), NOW)
        except Refused:
            refusals += 1
    if refusals:
        raise Refused(Code.TOKEN_FORM, "refused at least once")


def unsigned_header(data: bytes) -> None:
    """The header of a token, signed by the trusted service's key whatever it says."""
    _verify_signed(f"{b64url(data)}.{_BODY}")


def unsigned_payload(data: bytes) -> None:
    """The payload of a token by the trusted service."""
    _verify_signed(f"{_HEAD}.{b64url(data)}")


def _verify_signed(body: str) -> None:
    signature = b64url(makers.raw_signature(body.encode(), _HONEST.key, "ES256"))
    verify_token(f"{body}.{signature}", _ANCHORS, _RULES, makers.expected_claims(), NOW)


def anchors(data: bytes) -> None:
    """A PEM bundle, as ``/certificate`` answers it."""
    read_anchors(data, NOW)


def answer(data: bytes) -> None:
    """The body of a service's answer."""
    service_word(data)
    wants_flat(400, data)
    read_answer(200, data)


def json_text(data: bytes) -> None:
    """JSON."""
    parse(data, Code.TOKEN_FORM, "it")


def base64_text(data: bytes) -> None:
    """base64 of either kind, from text as JSON may carry it."""
    decode_either(data.decode("utf-8", "replace"), Code.TOKEN_FORM, "it")


def ttrpc_answer(data: bytes) -> None:
    """A frame of the attestation agent: its header, then a message read as each of those that TNG asks for."""
    frame = data.ljust(ttrpc.HEADER.size, b"\0")
    refusals = 0
    try:
        ttrpc.response_length(frame[: ttrpc.HEADER.size], 1)
    except Refused:
        refusals += 1
    for read in (lambda message: ttrpc.read_bytes(ttrpc.read_response(message).payload), ttrpc.read_text):
        try:
            read(frame[ttrpc.HEADER.size :])
        except Refused:
            refusals += 1
    if refusals:
        raise Refused(Code.AGENT_FRAME, "refused at least once")


_CERTIFICATE = makers.peer_certificate(makers.fields_value())
_TOKEN = _HONEST.token(makers.ear())
_HEAD, _BODY, _ = _TOKEN.split(".")

ENTRIES: dict[str, Callable[[bytes], None]] = {
    entry.__name__: entry
    for entry in (
        certificate,
        unsigned_certificate,
        evidence,
        token,
        unsigned_header,
        unsigned_payload,
        anchors,
        answer,
        json_text,
        base64_text,
        ttrpc_answer,
    )
}
SEEDS: dict[str, list[bytes]] = {
    "certificate": [_CERTIFICATE],
    "unsigned_certificate": [
        makers.inside(makers.elements(makers.inside(makers.elements(makers.inside(_CERTIFICATE))[0]))[-1]),
    ],
    "evidence": [makers.fields_value(), makers.evidence_value(b"a.b.c", 0xC0C001)],
    "token": [_TOKEN.encode(), _HONEST.token(makers.simple()).encode(), _RSA.token(makers.ear()).encode()],
    "unsigned_header": [json.dumps(_HONEST.header()).encode()],
    "unsigned_payload": [json.dumps(makers.ear()).encode(), json.dumps(makers.simple()).encode()],
    "anchors": [_HONEST.pem],
    "answer": [b"a.b.c", _TOKEN.encode()],
    "json_text": [json.dumps(makers.ear()).encode(), b'["\\u00e9", -1.5e3, true, null]'],
    "ttrpc_answer": [sample_ttrpc.frame(1, sample_ttrpc.response(sample_ttrpc.bytes_field(1, b"tdx")))],
    "base64_text": [b"AAAA", b"+/A=", b"-_A"],
}
