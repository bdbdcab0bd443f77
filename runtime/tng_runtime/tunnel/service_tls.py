"""TLS to the attestation service: whose certificates hold, and what it means when one does not.

Who signs the service's HTTPS certificate is the host's to say, or ``as_ca_paths``'s, which is then exclusive. Neither
has to do with who signs tokens (``trust``).
"""

from __future__ import annotations

import ssl

import httpcore

from tng_runtime.attest.codes import Code
from tng_runtime.errors import HostError
from tng_runtime.manifest import Service
from tng_schema import contract


class TlsRefusedError(httpcore.ConnectError):
    """No TLS with the service; ``code`` is one of RA-SERVICE-TLS, -CA and -CERTIFICATE."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def tls_context(service: Service) -> ssl.SSLContext:
    """How the service is spoken to; raises ``HostError`` (exit 3) if a file of ``as_ca_paths`` cannot be used."""
    # Not ssl.create_default_context: that one writes session keys to where SSLKEYLOGFILE of the environment points.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if service.as_ca_paths:
        for path in service.as_ca_paths:
            _believe(context, path)
        # What is named is believed, also when it is an authority below another one.
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    elif service.as_addr.startswith("https:"):
        context.load_default_certs()
    return context


def _believe(context: ssl.SSLContext, path: str) -> None:
    # Without a thread: who reads it may still have privileges to give up, which are those of threads.
    try:
        with open(path, "rb") as file:
            pem = file.read(contract.MAX_CERTIFICATES + 1)
        if len(pem) > contract.MAX_CERTIFICATES:
            raise _unusable(path, f"larger than {contract.MAX_CERTIFICATES} bytes")
        context.load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except ssl.SSLError as error:
        raise _unusable(path, f"no certificates in PEM ({error.reason or error})") from None
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from None
    except ValueError:
        raise _unusable(path, "no certificates in PEM") from None


def refusal(error: Exception, host: str | None) -> TlsRefusedError:
    """What a handshake that failed means; ``host`` is whom the certificate had to name."""
    if not isinstance(error, ssl.SSLError):
        return TlsRefusedError(Code.SERVICE_TLS, f"no TLS with {host}: {str(error) or 'the connection ended'}")
    if isinstance(error, ssl.SSLCertVerificationError):
        code = Code.SERVICE_CA if error.verify_code in contract.UNKNOWN_SIGNER else Code.SERVICE_CERTIFICATE
        return TlsRefusedError(code, f"the certificate of {host} does not hold: {error.verify_message}")
    reason = (error.reason or str(error)).replace("_", " ").lower()
    return TlsRefusedError(Code.SERVICE_TLS, f"no TLS with {host}: {reason}")


def _unusable(path: str, problem: str) -> HostError:
    hint = "give certificates of the CA that signed the service's HTTPS certificate; trusted_certs_paths is for tokens"
    return HostError(f"as_ca_paths: {path}: {problem}", hint=hint)
