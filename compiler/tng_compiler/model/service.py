"""The attestation service: its URL, its headers, and who signs the certificate of its HTTPS."""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Place
from tng_compiler.diagnostics.pointer import child
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block
from tng_compiler.model.types import Service
from tng_schema import contract

_URL_CHARACTERS = re.compile(r"[!-~]+", re.ASCII)
HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?", re.ASCII)
_TOKENS = "`trusted_certs_paths` is for those who sign tokens"


def service(block: Block, *, pinned: bool) -> Service | None:
    """Build the service of an ``attest`` or ``verify`` block, None when it names none or names it wrongly.

    ``pinned``: tokens are checked against pinned certificates, so that plain http cannot widen the trust.
    """
    headers = _headers(block)
    authorities = tuple(absolute(block, pointer, path) for pointer, path in block.texts("as_ca_paths"))
    address = block.text("as_addr")
    if address is None:
        if authorities and not block.said("as_addr"):
            message = "expected `as_addr` beside `as_ca_paths`, found none"
            help_ = f"name the service whose HTTPS certificate they sign; {_TOKENS}"
            block.findings.error(Code.CA_WITHOUT_TLS, block.key_at("as_ca_paths"), message, help_)
        if headers and not block.said("as_addr"):
            message = "expected `as_addr` beside `as_headers`, found none"
            block.findings.error(
                Code.HEADERS_WITHOUT_SERVICE, block.key_at("as_headers"), message, "headers go to the service: name it"
            )
        return None
    parts = _url(block, address)
    if parts is None:
        return None
    if parts.scheme == "http" and authorities:
        message = f"expected an https `as_addr` beside `as_ca_paths`, found {json_text(address)}"
        help_ = f"in plain http nobody shows a certificate; {_TOKENS}"
        block.findings.error(Code.CA_WITHOUT_TLS, block.key_at("as_ca_paths"), message, help_)
    elif parts.scheme == "http" and not pinned and not contract.is_loopback(parts.hostname or ""):
        message = f"expected https, or http on this host, found {json_text(address)}: whoever is on the way can answer"
        help_ = "use https, or pin the token's signer with `trusted_certs_paths` in `verify`"
        block.findings.warn(Code.PLAIN_HTTP_SERVICE, block.value_at("as_addr"), message, help_)
    return Service(address, headers, authorities)


def absolute(block: Block, pointer: str, path: str) -> str:
    """Return the path of a file, which must be absolute; a fault is reported."""
    if not path.startswith("/") or not path.isprintable():
        message = f"expected an absolute path, found {json_text(path)}"
        help_ = "the runtime has no working directory that a document could mean"
        block.findings.error(Code.RELATIVE_PATH, Place(pointer), message, help_)
    return path


def _url(block: Block, address: str) -> SplitResult | None:
    """Return the parts of an http or https URL that paths can be appended to."""
    fault = "expected an http:// or https:// URL, found " + json_text(address)
    help_ = "such as http://127.0.0.1:8081/"
    try:
        parts = urlsplit(address)
        port = parts.port
        host = parts.hostname or ""
        literal = ip_address(host) if "[" in parts.netloc else None
    except ValueError:
        block.findings.error(Code.BAD_AS_ADDR, block.value_at("as_addr"), fault, help_)
        return None
    if not _URL_CHARACTERS.fullmatch(address):
        fault = f"expected a URL in ASCII without spaces, found {json_text(address)}"
    elif parts.scheme not in ("http", "https"):
        help_ = f"write http://{address}" if "://" not in address else help_
    elif parts.username is not None or parts.password is not None:
        fault, help_ = "expected a URL without credentials, found some", "send them with `as_headers`"
    elif parts.query or parts.fragment or address[-1] in "?#":
        fault = f"expected a URL without query and fragment, found {json_text(address)}"
        help_ = "paths such as /attestation are appended to it"
    elif port == 0 or not (literal or HOST_NAME.fullmatch(host)):
        fault = f"expected a host and a port from 1 to 65535 in the URL, found {json_text(address)}"
    else:
        return parts
    block.findings.error(Code.BAD_AS_ADDR, block.value_at("as_addr"), fault, help_)
    return None


def _headers(block: Block) -> tuple[tuple[str, str], ...]:
    members = block.members.get("as_headers")
    if not isinstance(members, dict) or not block.usable("as_headers"):
        return ()
    pointer = child(block.pointer, "as_headers")
    good = []
    for name, value in members.items():
        if not isinstance(value, str):
            continue
        if not contract.is_header_name(name):
            message = f"expected an HTTP header name, found {json_text(name)}"
            help_ = "letters, digits and hyphens"
            block.findings.error(Code.BAD_HEADER, Place(child(pointer, name), "key"), message, help_)
        elif contract.is_framing(name):
            message = f"expected a header that is free to set, found {json_text(name)}: it frames the call"
            help_ = "leave it out"
            block.findings.error(Code.BAD_HEADER, Place(child(pointer, name), "key"), message, help_)
        elif not contract.is_header_value(value):
            message = "expected a header value of printable ASCII on one line, found something else"
            block.findings.error(Code.BAD_HEADER, Place(child(pointer, name)), message)
        else:
            good.append((name, value))
    return tuple(good)
