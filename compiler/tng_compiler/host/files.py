"""Files of certificates that a document names: there, in PEM, and not too large, as the runtime will read them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host.finding import ERROR, Finding, in_document
from tng_compiler.plan.types import Plan
from tng_schema import contract


def unusable(plan: Plan) -> Iterator[Finding]:
    """Each file that would keep an instance from starting, once for each place that names it."""
    for entry in plan.all_entries:
        for side, block in (("attest", entry.attest), ("verify", entry.verify)):
            service = block.service if block else None
            named = [("as_ca_paths", path) for path in (service.as_ca_paths if service else ())]
            if side == "verify" and entry.verify:
                named += [("trusted_certs_paths", path) for path in entry.verify.trusted_certs_paths]
            for member, path in named:
                if found := problem(path):
                    yield in_document(
                        Code.CERTIFICATES_UNUSABLE,
                        ERROR,
                        f"{entry.pointer}/{side}/{member}",
                        f"expected certificates in PEM in {path}, found: {found}",
                        "put them there; an instance reads the file when it starts, as root",
                    )


def problem(path: str) -> str | None:
    """What is wrong with the file; None: nothing."""
    try:
        with open(path, "rb") as file:
            pem = file.read(contract.MAX_CERTIFICATES + 1)
        if len(pem) > contract.MAX_CERTIFICATES:
            return f"more than {contract.MAX_CERTIFICATES} bytes"
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError):
        return "none in it"
    except OSError as error:
        return str(error.strerror)
    return None


def tls_context(authorities: tuple[str, ...]) -> ssl.SSLContext:
    """How a service is spoken to, as the runtime will; ``authorities`` have no ``problem``."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for path in authorities:
        context.load_verify_locations(path)
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    if not authorities:
        context.load_default_certs()
    return context
