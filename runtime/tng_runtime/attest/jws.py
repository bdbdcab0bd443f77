"""The signature of a token: a JWS in compact form (RFC 7515) whose header proposes its own key.

The proposal counts for nothing by itself: the ``jwk`` must be the key of the leaf in ``x5c``, and that chain must end
at a trust anchor. ``jku``, ``x5u`` and ``kid`` are never followed, ``crit`` is refused, and the key decides which
algorithms are possible: there is neither ``none`` nor HMAC to confuse it with. The payload is parsed only after the
signature has held.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tng_runtime.attest import strict_json
from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.base64_strict import decode_url
from tng_runtime.attest.chain import leaf_key
from tng_runtime.attest.codes import Code
from tng_runtime.attest.foreign import Key, refusing, strong_key
from tng_runtime.errors import Refused

MAX_TOKEN_BYTES = 1 << 20
# The header is parsed before anything is known of its author; real ones have 1 to 3 KB.
MAX_HEADER_CHARACTERS = 1 << 16

# RFC 7518, section 3.4: each curve has one algorithm.
_CURVES: dict[str, tuple[ec.EllipticCurve, str, hashes.HashAlgorithm]] = {
    "P-256": (ec.SECP256R1(), "ES256", hashes.SHA256()),
    "P-384": (ec.SECP384R1(), "ES384", hashes.SHA384()),
    "P-521": (ec.SECP521R1(), "ES512", hashes.SHA512()),
}
_BY_CURVE = {curve.name: (alg, digest) for curve, alg, digest in _CURVES.values()}
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
# RFC 7518, sections 3.3 and 3.5; PSS with a salt as long as the hash.
_RSA_PADDINGS: dict[str, Callable[[hashes.HashAlgorithm], padding.AsymmetricPadding]] = {
    "RS": lambda _digest: padding.PKCS1v15(),
    "PS": lambda digest: padding.PSS(padding.MGF1(digest), padding.PSS.DIGEST_LENGTH),
}
_MAX_RSA_BYTES = 1024
_MAX_EXPONENT_BYTES = 4


def verify_signature(token: bytes | str, anchors: TrustAnchors | None, now: datetime) -> dict[str, Any]:
    """The payload of a token whose signature, key and chain hold at ``now``; raises ``Refused`` (RA-TOKEN-...).

    ``anchors`` None means that the header's own key is believed (``skip_as_token_cert_verify``): the payload is then
    anybody's word.
    """
    text = _ascii(token)
    segments = text.split(".")
    if len(segments) != 3:
        raise Refused(Code.TOKEN_FORM, f"{len(segments)} segments instead of 3")
    header = _header(segments[0])
    key = _key(header, anchors, now)
    signature = decode_url(segments[2], Code.TOKEN_FORM, "the signature")
    _check_signature(key, header["alg"], signature, f"{segments[0]}.{segments[1]}".encode("ascii"))
    return strict_json.parse_object(
        decode_url(segments[1], Code.TOKEN_FORM, "the payload"), Code.TOKEN_FORM, "the payload"
    )


def _ascii(token: bytes | str) -> str:
    if len(token) > MAX_TOKEN_BYTES:
        raise Refused(Code.TOKEN_SIZE, f"{len(token)} bytes, at most {MAX_TOKEN_BYTES} are read")
    try:
        return token.decode("ascii") if isinstance(token, bytes) else token.encode("ascii").decode("ascii")
    except UnicodeError:
        raise Refused(Code.TOKEN_FORM, "not ASCII") from None


def _header(segment: str) -> dict[str, Any]:
    if len(segment) > MAX_HEADER_CHARACTERS:
        raise Refused(Code.TOKEN_SIZE, f"a header of {len(segment)} characters")
    header = strict_json.parse_object(decode_url(segment, Code.TOKEN_FORM, "the header"), Code.TOKEN_FORM, "the header")
    if "crit" in header:
        raise Refused(Code.TOKEN_HEADER, "`crit` demands extensions")
    if header.get("typ", "JWT") != "JWT":
        raise Refused(Code.TOKEN_HEADER, "`typ` is not JWT")
    if not isinstance(header.get("alg"), str):
        raise Refused(Code.TOKEN_ALGORITHM, "`alg` is not a text")
    return header


def _key(header: Mapping[str, object], anchors: TrustAnchors | None, now: datetime) -> Key:
    jwk = header.get("jwk")
    if not isinstance(jwk, dict):
        raise Refused(Code.TOKEN_KEY, "no `jwk`")
    if jwk.get("alg", header["alg"]) != header["alg"]:
        raise Refused(Code.TOKEN_ALGORITHM, "`alg` differs between header and `jwk`")
    with refusing(Code.TOKEN_KEY, "the `jwk` is not a key"):
        key = strong_key(_jwk_key(jwk), Code.TOKEN_KEY, "the `jwk`")
    if anchors is not None and leaf_key(jwk.get("x5c"), anchors, now).public_numbers() != key.public_numbers():
        raise Refused(Code.TOKEN_KEY, "the `jwk` is not the key of the leaf certificate")
    return key


def _jwk_key(jwk: Mapping[str, object]) -> Key:
    """The public key of a JWK (RFC 7518, sections 6.2 and 6.3). EC coordinates may lack leading zero bytes."""
    match jwk:
        case {"kty": "EC", "crv": str(name), "x": str(x), "y": str(y)} if name in _CURVES:
            curve = _CURVES[name][0]
            size = (curve.key_size + 7) // 8
            return ec.EllipticCurvePublicNumbers(_integer(x, size), _integer(y, size), curve).public_key()
        case {"kty": "RSA", "n": str(n), "e": str(e)}:
            return rsa.RSAPublicNumbers(_integer(e, _MAX_EXPONENT_BYTES), _integer(n, _MAX_RSA_BYTES)).public_key()
        case _:
            raise Refused(Code.TOKEN_KEY, "the `jwk` is neither EC nor RSA")


def _integer(text: str, size: int) -> int:
    value = decode_url(text, Code.TOKEN_KEY, "a member of the `jwk`")
    if not 0 < len(value) <= size:
        raise Refused(Code.TOKEN_KEY, f"a member of the `jwk` has {len(value)} bytes, at most {size} fit")
    return int.from_bytes(value, "big")


def _check_signature(key: Key, alg: str, signature: bytes, signed: bytes) -> None:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            family, bits = alg[:2], alg[2:]
            if family not in _RSA_PADDINGS or bits not in _RSA_HASHES:
                raise Refused(Code.TOKEN_ALGORITHM, "`alg` is not one for an RSA key")
            digest = _RSA_HASHES[bits]
            key.verify(signature, signed, _RSA_PADDINGS[family](digest), digest)
        else:
            expected, digest = _BY_CURVE[key.curve.name]
            if alg != expected:
                raise Refused(Code.TOKEN_ALGORITHM, f"`alg` is not {expected}, which the key demands")
            key.verify(_der(signature, (key.curve.key_size + 7) // 8), signed, ec.ECDSA(digest))
    except InvalidSignature:
        raise Refused(Code.TOKEN_SIGNATURE, "the signature is not the key's") from None


def _der(signature: bytes, size: int) -> bytes:
    """From r and s side by side (RFC 7518, section 3.4) to the DER that the library takes."""
    if len(signature) != 2 * size:
        raise Refused(Code.TOKEN_SIGNATURE, f"{len(signature)} bytes instead of {2 * size}")
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))
