"""``socks5``: a port for programs that name their destinations themselves."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.model.block import Block
from tng_compiler.model.mapping import own_address, single_port
from tng_compiler.model.types import Role, Socks5

_LONGEST = 255
"""RFC 1929, section 2: a length is one byte."""


def socks5(block: Block, _role: Role) -> Socks5 | None:
    """Build the proxy; None after a fault, which is reported."""
    listen = block.block("proxy_listen")
    if listen is None:
        return None
    host, port, auth = own_address(listen), single_port(listen), _auth(block)
    if host is None or port is None:
        return None
    return Socks5(block.pointer, host, port, auth)


def _auth(block: Block) -> tuple[str, str] | None:
    auth = block.block("auth")
    if auth is None:
        return None
    for name in ("username", "password"):
        if len((auth.text(name) or "").encode("utf-8", "surrogatepass")) > _LONGEST:
            message = f"expected at most {_LONGEST} bytes, found more"
            block.findings.error(Code.BAD_DOOR, auth.value_at(name), message, "SOCKS5 has no room for it")
    return auth.text("username") or "", auth.text("password") or ""
