"""What the catalogue of hostile certificates does not cover: what is accepted, and where the limits lie exactly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import pytest
from cryptography import x509

from runtime.attest import makers
from runtime.attest.makers import HOUR, NOW, ec_key, rsa_key
from tng_runtime.attest import cbor
from tng_runtime.attest.certificate import MAX_CERTIFICATE_BYTES, read_certificate, select
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence
from tng_runtime.attest.issue import spki_sha256
from tng_runtime.attest.oids import EVIDENCE
from tng_runtime.errors import Refused

DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


def refused(der: bytes) -> str:
    """The code with which a certificate is refused."""
    with pytest.raises(Refused) as refusal:
        read_certificate(der, NOW)
    return refusal.value.code


def test_select_wants_exactly_one() -> None:
    """None and two are refused."""
    assert select([b"x"]) == b"x"
    for chain in ([], [b"x", b"y"]):
        with pytest.raises(Refused) as refusal:
            select(chain)
        assert refusal.value.code == Code.CERT_CHAIN


def test_the_value_names_the_certificate_and_its_key() -> None:
    """Digest of the DER, digest of the key, end."""
    der = makers.peer_certificate(makers.fields_value())
    presented = read_certificate(der, NOW)
    assert presented.sha256 == hashlib.sha256(der).hexdigest()
    assert presented.spki_sha256 == spki_sha256(ec_key())
    assert presented.not_after == NOW + HOUR


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(lambda: ec_key("p384", "secp384r1"), id="p384"),
        pytest.param(lambda: ec_key("p521", "secp521r1"), id="p521"),
        pytest.param(lambda: rsa_key(2048), id="rsa2048"),
    ],
)
def test_other_strong_keys_are_accepted(key: Callable[[], makers.PrivateKey]) -> None:
    """TLS proves possession of any of them."""
    private = key()
    value = makers.evidence_value(cbor.text_map(makers.honest_fields(private)))
    assert read_certificate(makers.peer_certificate(value, private), NOW).spki_sha256 == makers.spki_digest(private)


def test_dates_hold_to_the_second() -> None:
    """Both ends are inclusive, five seconds ahead are a clock's error, and a day is the longest life."""
    value = makers.fields_value()
    read_certificate(makers.peer_certificate(value, end=NOW), NOW)
    read_certificate(makers.peer_certificate(value, begin=NOW + 5 * SECOND), NOW)
    read_certificate(makers.peer_certificate(value, begin=NOW - HOUR, end=NOW - HOUR + DAY), NOW)
    assert refused(makers.peer_certificate(value, end=NOW - SECOND)) == Code.CERT_DATES
    assert refused(makers.peer_certificate(value, begin=NOW + 6 * SECOND)) == Code.CERT_DATES
    assert refused(makers.peer_certificate(value, end=NOW - HOUR + DAY + SECOND)) == Code.CERT_DATES


@pytest.mark.parametrize("size", [95_000, 120_000, MAX_CERTIFICATE_BYTES - 2000])
def test_h13_large_evidence_below_the_cap_is_accepted(size: int) -> None:
    """Real evidence exceeds 64 KB."""
    der = makers.peer_certificate(makers.fields_value(aa_evidence=cbor.byte_string(bytes(size))))
    assert size < len(der) <= MAX_CERTIFICATE_BYTES
    presented = read_certificate(der, NOW)
    assert isinstance(presented.evidence, CocoEvidence)
    assert presented.evidence.evidence == bytes(size)


def test_unknown_extensions_that_are_not_critical_are_ignored() -> None:
    """The empty DICE manifest is one of them."""
    der = makers.peer_certificate(makers.fields_value(), extensions=[makers.unknown(critical=False)])
    assert read_certificate(der, NOW).not_after == NOW + HOUR


def test_a_critical_evidence_extension_is_understood() -> None:
    """It is the one extension that is processed."""
    extension = (x509.UnrecognizedExtension(EVIDENCE, makers.fields_value()), True)
    assert read_certificate(makers.peer_certificate(None, extensions=[extension]), NOW).not_after == NOW + HOUR


def test_versions_1_and_2_are_refused() -> None:
    """Without its extensions the certificate would be a valid one of version 1."""
    der = makers.peer_certificate(makers.fields_value())
    assert refused(makers.rebuilt(der, ec_key(), lambda tbs: tbs[1:-1])) == Code.CERT_FORM
    version_2 = bytes.fromhex("a003020101")
    assert refused(makers.rebuilt(der, ec_key(), lambda tbs: [version_2, *tbs[1:]])) == Code.CERT_FORM


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("serial", ["020100", "0201ff"])
def test_a_serial_number_that_is_not_positive_is_refused(serial: str) -> None:
    """RFC 5280 forbids it, the library may only warn."""
    der = makers.peer_certificate(makers.fields_value())
    odd = makers.rebuilt(der, ec_key(), lambda tbs: [tbs[0], bytes.fromhex(serial), *tbs[2:]])
    assert refused(odd) == Code.CERT_FORM


def test_a_repeated_extension_other_than_the_evidence_is_refused() -> None:
    """Two readers might take different ones."""

    def doubled(tbs: list[bytes]) -> list[bytes]:
        [extensions] = makers.elements(makers.inside(tbs[-1]))
        items = makers.elements(makers.inside(extensions))
        return [*tbs[:-1], makers.tlv(0xA3, makers.tlv(0x30, b"".join([items[0], *items])))]

    der = makers.peer_certificate(makers.fields_value())
    assert refused(makers.rebuilt(der, ec_key(), doubled)) == Code.CERT_FORM


def test_another_algorithm_outside_than_inside_is_refused() -> None:
    """The outer one is not signed."""
    der = makers.peer_certificate(makers.fields_value())
    sha512 = bytes.fromhex("300a06082a8648ce3d040304")
    odd = makers.rebuilt(der, ec_key(), lambda tbs: tbs, algorithm=sha512)
    assert refused(odd) in {Code.CERT_FORM, Code.CERT_SELF_SIGNED}


def test_details_carry_no_evidence() -> None:
    """A refusal is logged; the evidence is not."""
    der = makers.peer_certificate(makers.fields_value(aa_evidence=cbor.text("SECRET")))
    with pytest.raises(Refused) as refusal:
        read_certificate(der, NOW)
    assert "SECRET" not in str(refusal.value)
