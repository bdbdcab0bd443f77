"""A private CA for the sample service's HTTPS. It signs no tokens: those have an authority of their own."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

CA_FILE = "tls-ca.pem"


def server_context(directory: Path, addresses: Sequence[str]) -> ssl.SSLContext:
    """The context of a server at ``addresses``; whom its clients must believe is in ``directory``/``tls-ca.pem``.

    That file is root's alone, as a careful administrator may have it.
    """
    key, ca_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name, name = _name("Sample TLS CA, proves nothing"), _name("Sample service, proves nothing")
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(each)) for each in addresses])
    ca = _signed(_builder(ca_name, ca_name, ca_key), ca_key, x509.BasicConstraints(ca=True, path_length=None))
    leaf = _signed(_builder(name, ca_name, key), ca_key, names)
    directory.mkdir(parents=True, exist_ok=True)
    for file, pem in (
        (CA_FILE, ca.public_bytes(serialization.Encoding.PEM)),
        ("tls.pem", leaf.public_bytes(serialization.Encoding.PEM) + _secret(key)),
    ):
        (directory / file).touch(mode=0o600)
        (directory / file).write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.pem")
    return context


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(own, critical=False)
    return builder.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + dt.timedelta(days=30))


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
) -> x509.Certificate:
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(extension, critical=False).add_extension(issuer, critical=False)
    return builder.sign(key, hashes.SHA256())


def _secret(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
