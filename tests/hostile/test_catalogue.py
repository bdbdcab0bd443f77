"""Certificates, evidence and tokens of the catalogue (13 to 57, 114), each shown to the running program by a real peer.

The cases are those that tests/runtime/attest decides purely, in both models and in both directions; here the byte
counts, the log and the other connections are what is asserted. What depends on the second in which it is made is made
anew.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from hostile import service as services
from hostile import stage as stages
from hostile.conftest import Scene
from hostile.stage import BACKGROUND, HONEST, PASSPORT
from hostile.tls13 import Shown
from runtime.attest import makers
from runtime.attest.makers import HOUR, NOW, ear, ec_key, rsa_key
from runtime.attest.test_hostile_certificate import CERTIFICATES
from runtime.attest.test_hostile_token import TOKENS, header_jwk, with_chain

pytestmark = pytest.mark.netns

SECONDS = int(NOW.timestamp())

# A second or six ahead of the import is not ahead any more when the case is played.
_BY_THE_SECOND = {"h19_not_before_ahead", "h43_a_leaf_ahead", "h46_nbf_ahead", "h46_iat_ahead"}

LATER_CERTIFICATES = [
    ("h19_not_before_an_hour_ahead", "RA-CERT-DATES",
     lambda: [makers.peer_certificate(makers.fields_value(), begin=NOW + HOUR, end=NOW + 2 * HOUR)]),
]  # fmt: skip
LATER_TOKENS = [
    ("h43_a_leaf_an_hour_ahead", "RA-TOKEN-CHAIN",
     lambda: with_chain(HONEST.leaf(begin=NOW + HOUR, end=NOW + 2 * HOUR))),
    ("h46_nbf_an_hour_ahead", "RA-TOKEN-TIME", lambda: HONEST.token(ear(nbf=SECONDS + 3600))),
    ("h46_iat_an_hour_ahead", "RA-TOKEN-TIME", lambda: HONEST.token(ear(iat=SECONDS + 3600))),
]  # fmt: skip

# Where something else is asked earlier than in the pure catalogue: by TLS, which reads the certificate first,
# and by the reader of the service's answer.
EARLIER = {
    "h23_bytes_after_the_der": "TLS-HANDSHAKE",
    "service_h39_alg_none": "RA-SERVICE-ANSWER",
    "service_h55_two_segments": "RA-SERVICE-ANSWER",
    "service_h55_four_segments": "RA-SERVICE-ANSWER",
    "service_h55_padding": "RA-SERVICE-ANSWER",
    "service_h55_white_space_at_the_end": "RA-SERVICE-ANSWER",
    "service_h55_white_space_inside": "RA-SERVICE-ANSWER",
    "service_h55_standard_base64": "RA-SERVICE-ANSWER",
    "service_h55_not_ascii": "RA-SERVICE-ANSWER",
    "service_h55_10_mb": "RA-SERVICE-SIZE",
    "service_h55_a_byte_above_the_cap": "RA-SERVICE-SIZE",
    "service_h56_an_empty_signature": "RA-SERVICE-ANSWER",
    "passport_h55_10_mb": "TLS-CERT-SIZE",
    "passport_h55_a_byte_above_the_cap": "RA-CERT-SIZE",
}
# A server's own part is over when it reads its client's certificate, a client judges first.
EARLIER_AT_AN_EGRESS = {"h21_an_unsupported_curve": "TLS-HANDSHAKE"}

KEYS: list[makers.PrivateKey] = [
    ec_key(),
    ec_key("other"),
    rsa_key(2048),
    rsa_key(1024),
    ec_key("koblitz", "secp256k1"),
]

Chain = Callable[[], list[bytes]]
Token = Callable[[], str]


def cases(*catalogues: Sequence[tuple[str, str, object]]) -> list[object]:
    """Every case under its id, but for those that only hold within the second."""
    found = [case for catalogue in catalogues for case in catalogue if case[0] not in _BY_THE_SECOND]
    return [pytest.param(case[0], case[1], case[2], id=case[0]) for case in found]


def key_of(der: bytes) -> makers.PrivateKey:
    """The private key of a certificate; anybody's if it is too broken to say."""
    try:
        spki = (
            x509.load_der_x509_certificate(der)
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )
    except ValueError:
        return ec_key()
    return next(
        key for key in KEYS if key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki
    )


@pytest.mark.parametrize(("name", "code", "chain"), cases(CERTIFICATES, LATER_CERTIFICATES))
def test_a_certificate_is_refused(scene: Scene, name: str, code: str, chain: Chain) -> None:
    """With its code, before a byte of the application moved."""
    shown = chain()
    calls = scene.stage.service.calls["/attestation"]
    earlier = EARLIER | (EARLIER_AT_AN_EGRESS if scene.stage.side == "egress" else {})
    scene.refuses(BACKGROUND, Shown(shown, key_of(shown[0])), earlier.get(name, code))
    assert scene.stage.service.calls["/attestation"] == calls, "the service was asked about it"


def test_h24_evidence_where_a_token_is_due(scene: Scene) -> None:
    """In passport, evidence is no token."""
    scene.refuses(PASSPORT, stages.honest(), "RA-EVIDENCE-MODEL")


@pytest.mark.parametrize(("name", "code", "token"), cases(TOKENS, LATER_TOKENS))
def test_a_token_of_the_service_is_refused(scene: Scene, name: str, code: str, token: Token) -> None:
    """Background check: the peer is honest, the word about it is not what it must be."""
    scene.stage.service.attestation = services.text(token())
    scene.refuses(BACKGROUND, stages.honest(), EARLIER.get("service_" + name, code))


@pytest.mark.parametrize(("name", "code", "token"), cases(TOKENS, LATER_TOKENS))
def test_a_token_in_a_passport_is_refused(scene: Scene, name: str, code: str, token: Token) -> None:
    """Passport: the peer shows it itself."""
    scene.refuses(PASSPORT, stages.passport(token()), EARLIER.get("passport_" + name, code))


@pytest.mark.parametrize("spell", [makers.x5c, makers.x5c_standard], ids=["url", "standard"])
def test_h44_x5c_in_either_base64_is_accepted(scene: Scene, spell: Callable[[tuple[bytes, ...]], list[str]]) -> None:
    """RFC 7515 writes standard base64, the trustee base64url."""
    scene.stage.open(PASSPORT, stages.passport(header_jwk(x5c=spell(HONEST.x5c)))).close()
    scene.stage.proved += 1


def test_h45_jku_x5u_and_kid_are_never_fetched(scene: Scene) -> None:
    """A server stands where they point to, and nobody comes."""
    with scene.stage.near.inside(), services.Service(("127.0.0.1", 9099), HONEST.pem) as lure:
        url = "http://127.0.0.1:9099/"
        token = HONEST.token(ear(), jku=url, x5u=url, kid=url)
        scene.stage.open(PASSPORT, stages.passport(token)).close()
        scene.stage.proved += 1
        time.sleep(0.1)  # for what must not happen there is no event
        assert lure.peers == []
