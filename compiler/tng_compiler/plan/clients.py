"""Whom the services behind an egress see: every connection comes from this host, unless the document says otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.model.types import Config


def clients(config: Config) -> Iterator[Diagnostic]:
    """Yield a note for each egress whose services cannot tell their clients apart."""
    for entry in config.entries:
        if entry.role == "egress" and entry.proxy_protocol is None:
            message = (
                "expected services to see their clients, found that they see this host: as local users, all of them"
            )
            advice = (
                "whoever comes through the tunnel passes `samehost`, `allow 127.0.0.1` and the like: trust no address, "
                'or let the service read a PROXY header (`"proxy_protocol": "v2"` in the entry)'
            )
            place = Place(entry.netfilter.pointer)
            yield Diagnostic(Code.CLIENTS_HIDDEN, Severity.NOTE, message, place, (), advice)
