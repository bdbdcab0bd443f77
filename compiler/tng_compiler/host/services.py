"""The attestation services: reached, with a certificate that holds, and with a clock like ours."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import files
from tng_compiler.host.finding import WARNING, Finding, in_document
from tng_compiler.model.types import Service
from tng_compiler.plan.types import Plan
from tng_schema import contract

_SECONDS = 5.0
# Tokens are good for minutes; some clocks differ by seconds.
_MOST_APART = 60.0


@dataclass(frozen=True, slots=True)
class _Use:
    pointer: str
    service: Service
    mark: int


def reached(plan: Plan) -> Iterator[Finding]:
    """Ask each service for what needs no secret, ``GET /certificate``, from a socket marked like the runtime's."""
    seen = set()
    for use in _uses(plan):
        if (use.service.as_addr, use.service.as_ca_paths) in seen:
            continue
        seen.add((use.service.as_addr, use.service.as_ca_paths))
        # Files that cannot be read are ``files``'s finding.
        if not any(map(files.problem, use.service.as_ca_paths)):
            yield from _ask(use)


def _uses(plan: Plan) -> Iterator[_Use]:
    for entry in plan.all_entries:
        for member, side in (("attest", entry.attest), ("verify", entry.verify)):
            if side is not None and side.service is not None:
                yield _Use(f"{entry.pointer}/{member}/as_addr", side.service, entry.so_mark)


def _ask(use: _Use) -> Iterator[Finding]:
    address = use.service.as_addr
    try:
        status, date = _get(use)
    except ssl.SSLCertVerificationError as error:
        yield in_document(
            Code.SERVICE_CERTIFICATE,
            WARNING,
            use.pointer,
            f"expected a certificate of {address} that {_who(use)} trusts, found: {error.verify_message}",
            _ADVICE["others" if error.verify_code in contract.UNKNOWN_SIGNER else "itself"],
        )
    except (OSError, http.client.HTTPException, ValueError) as error:
        problem = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield in_document(
            Code.SERVICE_UNREACHABLE,
            WARNING,
            use.pointer,
            f"expected the attestation service at {address}, found: {problem}",
            "look at the route and the firewall to it; without it no peer is verified",
        )
    else:
        if status >= 500:
            yield in_document(
                Code.SERVICE_UNREACHABLE,
                WARNING,
                use.pointer,
                f"expected an answer of the attestation service at {address}, found status {status}",
                "read its log",
            )
        yield from _clock(use, date)


_ADVICE = {
    "others": "name its private CA in as_ca_paths, or install it: update-ca-certificates(8); "
    "trusted_certs_paths is for tokens",
    "itself": "renew it, or name the service in as_addr as its certificate does",
}


def _who(use: _Use) -> str:
    return "as_ca_paths" if use.service.as_ca_paths else "this host"


def _clock(use: _Use, date: str | None) -> Iterator[Finding]:
    with suppress(ValueError, TypeError):
        apart = time.time() - parsedate_to_datetime(date or "").timestamp()
        if abs(apart) > _MOST_APART:
            yield in_document(
                Code.CLOCKS_APART,
                WARNING,
                use.pointer,
                f"expected a clock like the service's, found ours {apart:+.0f} s away",
                "tokens hold for minutes: set the clock (chrony, systemd-timesyncd), here or there",
            )


def _get(use: _Use) -> tuple[int, str | None]:
    parts = urlsplit(use.service.as_addr)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    with closing(http.client.HTTPConnection(host, port, timeout=_SECONDS)) as connection:
        connection.sock = _connect(host, port, use.mark)
        if secure:
            context = files.tls_context(use.service.as_ca_paths)
            connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
        headers = {**dict(use.service.as_headers), "Connection": "close", "User-Agent": "tng"}
        connection.request("GET", parts.path.rstrip("/") + "/certificate", headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Date")


def _connect(host: str, port: int, mark: int) -> socket.socket:
    problem: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(_SECONDS)
            with suppress(PermissionError):  # then it is captured like anybody's
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
            sock.connect(address)
        except OSError as error:
            sock.close()
            problem = error
        else:
            return sock
    raise problem
