"""Whom the services behind an egress see: every connection comes from this host, unless the document says otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.model.types import Config
from tng_compiler.plan.types import Plan

HIDDEN = "expected services to see their clients, found that they see this host: as local users, all of them"


def clients(config: Config, plan: Plan) -> Iterator[Diagnostic]:
    """Yield marks that are in the way, and a note for each egress whose services cannot tell their clients apart."""
    for entry in config.entries:
        if plan.way_back and entry.netfilter.so_mark == plan.way_back.mark:
            message = f"expected another mark than that of answers which come back, found {plan.way_back.mark}"
            place = Place(f"{entry.netfilter.pointer}/so_mark")
            advice = "what carries it is routed to this host (`client_address`): leave so_mark at 565"
            yield Diagnostic(Code.MARK_OF_OTHERS, Severity.ERROR, message, place, (), advice)
    for entry in config.entries:
        if entry.role == "egress" and entry.netfilter.client_address == "tunnel" and entry.proxy_protocol is None:
            advice = (
                "whoever comes through the tunnel passes `samehost`, `allow 127.0.0.1` and the like: trust no address, "
                'or write `"client_address": "original"` here, or `"proxy_protocol": "v2"` beside it'
            )
            place = Place(entry.netfilter.pointer)
            yield Diagnostic(Code.CLIENTS_HIDDEN, Severity.NOTE, HIDDEN, place, (), advice)
