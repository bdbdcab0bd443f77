"""The edge to the X.509 library: what it raises over foreign bytes becomes ``Refused``, and weak algorithms end here.

The library parses lazily, so any attribute of a foreign certificate may raise; all use of one happens inside
:func:`refusing`. Its warnings about odd encodings are exceptions where a program turns warnings into errors, hence
``Warning`` among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import VerificationError

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_ERRORS = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
    VerificationError,
    Warning,
)
_CURVES = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
# NIST SP 800-131A forbids less; more costs us time that a stranger would decide about.
_RSA_BITS = range(2048, 8193)


@contextmanager
def refusing(code: Code, what: str) -> Iterator[None]:
    """Raise ``Refused(code)`` for whatever the library raises over foreign bytes. The detail names the kind of
    error only.
    """
    try:
        yield
    except _ERRORS as error:
        raise Refused(code, f"{what} ({type(error).__name__})") from None


def strong_key(key: object, code: Code, what: str) -> Key:
    """An elliptic-curve key on P-256, P-384 or P-521, or RSA of 2048 to 8192 bits; anything else is
    ``Refused(code)``.
    """
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, _CURVES):
        return key
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS:
        return key
    raise Refused(code, f"{what} has a weak or unsupported key")


def check_strength(certificate: x509.Certificate, code: Code, what: str) -> None:
    """Key and signature hash of a certificate must be strong, else ``Refused(code)``. To be used inside
    :func:`refusing`.
    """
    strong_key(certificate.public_key(), code, what)
    if not isinstance(certificate.signature_hash_algorithm, _HASHES):
        raise Refused(code, f"{what} is signed with a weak or unsupported hash")
