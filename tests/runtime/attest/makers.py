"""Peers, authorities and tokens for the tests, honest by default and odd wherever a test asks for it.

Time stands still at ``NOW``. The X.509 builder refuses to build what verifiers must refuse, so such certificates are
rebuilt from their DER and signed again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from tng_demo.sample_authority import b64url, ear_claims, simple_claims, submod
from tng_runtime.attest import cbor
from tng_runtime.attest.anchors import TrustAnchors, read_anchors
from tng_runtime.attest.evidence import CocoEvidence, runtime_claims, runtime_data
from tng_runtime.attest.issue import spki_sha256
from tng_runtime.attest.oids import EVIDENCE

# The present, as a second that does not move: the same catalogues are shown to a running program in tests/hostile.
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR = timedelta(hours=1)
POLICY = "default"

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_SIZES = {"ES256": 32, "ES384": 48, "ES512": 66}
_HASHES: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@cache
def ec_key(name: str = "peer", curve: str = "secp256r1") -> ec.EllipticCurvePrivateKey:
    """The key of that name, the same one in every run: what a fuzzer found is found again."""
    curves: dict[str, ec.EllipticCurve] = {
        "secp256r1": ec.SECP256R1(),
        "secp384r1": ec.SECP384R1(),
        "secp521r1": ec.SECP521R1(),
        "secp256k1": ec.SECP256K1(),
    }
    scalar = int.from_bytes(hashlib.sha256(name.encode()).digest()) >> 16
    return ec.derive_private_key(scalar, curves[curve])


@cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    """An RSA key; generating one is slow, so there is one per size."""
    return rsa.generate_private_key(65537, bits)


def name(common: str) -> x509.Name:
    """A distinguished name of one part."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def certificate(
    subject: str,
    key: PrivateKey,
    issuer: str | None = None,
    issuer_key: PrivateKey | None = None,
    *,
    begin: datetime = NOW - HOUR,
    end: datetime = NOW + HOUR,
    extensions: Iterable[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """A certificate with exactly these extensions; self-signed without an issuer."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer or subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key or key, hashes.SHA256())


def der(cert: x509.Certificate) -> bytes:
    """The DER of a certificate."""
    return cert.public_bytes(Encoding.DER)


CA = (x509.BasicConstraints(ca=True, path_length=None), True)
NOT_CA = (x509.BasicConstraints(ca=False, path_length=None), True)
UNKNOWN_OID = x509.ObjectIdentifier("1.2.3.4.5")


def usage(**asserted: bool) -> x509.KeyUsage:
    """A keyUsage with the named bits."""
    bits = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**bits, **asserted})


def purposes(*oids: x509.ObjectIdentifier) -> tuple[x509.ExtensionType, bool]:
    """An extendedKeyUsage with these."""
    return x509.ExtendedKeyUsage(oids), False


def unknown(critical: bool) -> tuple[x509.ExtensionType, bool]:
    """An extension that nobody knows."""
    return x509.UnrecognizedExtension(UNKNOWN_OID, b"\x05\x00"), critical


# --- the peer ---


def honest_fields(key: PrivateKey | None = None) -> dict[str, bytes]:
    """The evidence map of an honest sample peer, member by member in CBOR."""
    return {
        "tee_type": cbor.text("sample"),
        "aa_evidence": cbor.byte_string(b'{"svn":"1"}'),
        "aa_additional_evidence": cbor.NULL,
        "aa_runtime_data": cbor.text(runtime_data(spki_digest(key or ec_key()))),
        "aa_runtime_data_hash_algo": cbor.uint(7),
    }


def spki_digest(key: PrivateKey) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return spki_sha256(key)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize()


def honest_evidence() -> CocoEvidence:
    """The evidence of :func:`honest_fields` as a value."""
    return CocoEvidence("sample", b'{"svn":"1"}', None, runtime_data(spki_digest(ec_key())))


def evidence_value(inner: bytes, tag: int = 0xC0C000) -> bytes:
    """The value of an evidence extension around ``inner``."""
    return cbor.tagged(tag, cbor.array(cbor.byte_string(inner), cbor.byte_string(b"")))


def fields_value(**changed: bytes) -> bytes:
    """An evidence extension of an honest peer but for the members given (in CBOR)."""
    return evidence_value(cbor.text_map({**honest_fields(), **changed}))


def peer_certificate(value: bytes | None, key: PrivateKey | None = None, **oddities: Any) -> bytes:
    """DER of a peer's certificate with that evidence extension and, if asked for, further extensions, dates or
    issuer.
    """
    extensions = list(oddities.pop("extensions", [NOT_CA, (usage(digital_signature=True), True)]))
    if value is not None:
        extensions.append((x509.UnrecognizedExtension(EVIDENCE, value), False))
    return der(certificate("TNG", key or ec_key(), **oddities, extensions=extensions))


# --- rebuilt DER ---


def tlv(tag: int, content: bytes) -> bytes:
    """One DER element."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def elements(content: bytes) -> list[bytes]:
    """The DER elements that lie side by side in ``content``."""
    found, at = [], 0
    while at < len(content):
        size, head = content[at + 1], 2
        if size & 0x80:
            head = 2 + (size & 0x7F)
            size = int.from_bytes(content[at + 2 : at + head], "big")
        found.append(content[at : at + head + size])
        at += head + size
    return found


def inside(element: bytes) -> bytes:
    """The content of a DER element."""
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]


def rebuilt(
    original: bytes,
    key: PrivateKey,
    edit: Callable[[list[bytes]], list[bytes]],
    digest: hashes.HashAlgorithm | None = None,
    algorithm: bytes | None = None,
) -> bytes:
    """A certificate whose TBS elements went through ``edit``, signed again with ``key``."""
    tbs, old_algorithm, _ = elements(inside(original))
    algorithm = algorithm or old_algorithm
    digest = digest or hashes.SHA256()
    new_tbs = tlv(0x30, b"".join(edit(elements(inside(tbs)))))
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(new_tbs, padding.PKCS1v15(), digest)
    else:
        signature = key.sign(new_tbs, ec.ECDSA(digest))
    return tlv(0x30, new_tbs + algorithm + tlv(0x03, b"\x00" + signature))


def rsa_signed(original: bytes, key: rsa.RSAPrivateKey, digest: hashes.HashAlgorithm, last_arc: int) -> bytes:
    """An RSA certificate signed again under OID 1.2.840.113549.1.1.``last_arc``: 4 is MD5, 5 is SHA-1."""
    algorithm = tlv(0x30, bytes.fromhex("06092a864886f70d0101") + bytes([last_arc]) + b"\x05\x00")
    return rebuilt(original, key, lambda tbs: [*tbs[:2], algorithm, *tbs[3:]], digest, algorithm)


# --- the service ---


@dataclass(frozen=True)
class Authority:
    """A CA with a signer of tokens under it; ``chain`` is leaf first."""

    key: PrivateKey = field(default_factory=lambda: ec_key("signer"))
    root_key: PrivateKey = field(default_factory=lambda: ec_key("root"))
    chain: tuple[bytes, ...] = ()
    alg: str = "ES256"

    @property
    def root(self) -> x509.Certificate:
        """The CA's own certificate."""
        return _root(self.root_key)

    @property
    def pem(self) -> bytes:
        """The CA as PEM."""
        return self.root.public_bytes(Encoding.PEM)

    @property
    def anchors(self) -> TrustAnchors:
        """The CA as trust anchor."""
        return read_anchors(self.pem, NOW)

    @property
    def x5c(self) -> tuple[bytes, ...]:
        """The chain, an honest one unless given."""
        return self.chain or (der(self.leaf()), der(self.root))

    def leaf(self, **oddities: Any) -> x509.Certificate:
        """A certificate of the signer by the CA."""
        return certificate("signer", self.key, "root", self.root_key, **oddities)

    def header(self) -> dict[str, Any]:
        """The header of an honest token."""
        return {"typ": "JWT", "alg": self.alg, "jwk": {**jwk(self.key), "alg": self.alg, "x5c": x5c(self.x5c)}}

    def token(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A token; members of the header are replaced by ``header``, and left out where that is None."""
        full = {key: value for key, value in {**self.header(), **header}.items() if value is not None}
        return signed(full, claims, self.key, self.alg)


@cache
def _root(key: PrivateKey) -> x509.Certificate:
    return certificate("root", key, extensions=[CA])


def jwk(key: PrivateKey) -> dict[str, Any]:
    """The public key as JWK."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        return {"kty": "RSA", "n": b64url(_bytes(numbers.n)), "e": b64url(_bytes(numbers.e))}
    size = (public.curve.key_size + 7) // 8
    point = public.public_numbers()
    return {
        "kty": "EC",
        "crv": _CURVES.get(public.curve.name, public.curve.name),
        "x": b64url(point.x.to_bytes(size, "big")),
        "y": b64url(point.y.to_bytes(size, "big")),
    }


def x5c(chain: Iterable[bytes]) -> list[str]:
    """Certificates as the trustee writes them: base64url without padding."""
    return [b64url(item) for item in chain]


def x5c_standard(chain: Iterable[bytes]) -> list[str]:
    """Certificates as RFC 7515 writes them: standard base64 with padding."""
    return [base64.b64encode(item).decode() for item in chain]


def signed(header: Mapping[str, Any] | str, claims: Mapping[str, Any] | str, key: PrivateKey, alg: str) -> str:
    """A JWS; header and claims may be given as text to be odd."""
    parts = [part if isinstance(part, str) else json.dumps(part, separators=(",", ":")) for part in (header, claims)]
    body = ".".join(b64url(part.encode("utf-8", "surrogatepass")) for part in parts)
    return f"{body}.{b64url(raw_signature(body.encode(), key, alg))}"


def raw_signature(body: bytes, key: PrivateKey, alg: str) -> bytes:
    """The signature as RFC 7518 wants it."""
    digest = _HASHES[alg[2:]]
    if isinstance(key, rsa.RSAPrivateKey):
        pss = padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH)
        return key.sign(body, pss if alg.startswith("PS") else padding.PKCS1v15(), digest)
    r, s = decode_dss_signature(key.sign(body, ec.ECDSA(digest)))
    size = _SIZES.get(alg, 32)
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def expected_claims() -> dict[str, str]:
    """The claims that bind a token to the peer's key."""
    return runtime_claims(spki_digest(ec_key()))


def ear(**changed: Any) -> dict[str, Any]:
    """The payload of an honest EAR token, but for the members given; None leaves one out."""
    payload = ear_claims({"cpu0": cpu()}, NOW, 3000, None)
    return {key: value for key, value in {**payload, **changed}.items() if value is not None}


def cpu(**changed: Any) -> dict[str, Any]:
    """An affirming submod, but for the members given (``_`` for ``-``, under ``ear.``); None leaves one out."""
    honest = submod(True, POLICY, {"svn": "1", "report_data": "00"}, expected_claims())
    odd = {f"ear.{key.replace('_', '-')}": value for key, value in changed.items()}
    return {key: value for key, value in {**honest, **odd}.items() if value is not None}


def annotated(runtime_data_claims: object) -> dict[str, Any]:
    """A submod whose annotated evidence has these runtime data claims."""
    honest = cpu()
    evidence = {**honest["ear.veraison.annotated-evidence"], "runtime_data_claims": runtime_data_claims}
    return {**honest, "ear.veraison.annotated-evidence": evidence}


def simple(**changed: Any) -> dict[str, Any]:
    """The payload of an honest simple token, but for the members given; None leaves one out."""
    payload = simple_claims([POLICY], expected_claims(), NOW, 3000, None)
    return {key: value for key, value in {**payload, **changed}.items() if value is not None}


def _bytes(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")
