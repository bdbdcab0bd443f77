"""``control_interface``: where an instance says how it stands."""

from __future__ import annotations

from ipaddress import ip_address

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block
from tng_compiler.model.types import Control
from tng_schema import contract

DEFAULT_HOST = "127.0.0.1"


def control(document: Block) -> Control | None:
    """Build the control interface of a document; None when it has none, or names it wrongly."""
    interface = document.block("control_interface")
    restful = interface.block("restful") if interface else None
    if restful is None or (port := restful.integer("port")) is None:
        return None
    said = restful.text("host") or DEFAULT_HOST
    host = DEFAULT_HOST if said == "localhost" else said
    if not contract.is_address(host) or "%" in host:
        message = f"expected an address of this host, found {json_text(said)}"
        help_ = 'such as "127.0.0.1", "::1", or "0.0.0.0" for all of IPv4'
        restful.findings.error(Code.BAD_CONTROL_HOST, restful.value_at("host"), message, help_)
        return None
    if not contract.is_loopback(host):
        message = f"expected the control interface on loopback, found {json_text(said)}: others can ask it, unencrypted"
        help_ = "leave `host` out, and let your monitoring ask on this host; or let a firewall say who may ask"
        restful.findings.warn(Code.CONTROL_OPEN, restful.value_at("host"), message, help_)
    return Control(restful.pointer, str(ip_address(host.strip("[]"))), port)
