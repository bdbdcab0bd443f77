"""``doctor``: the document and the host, all findings at once; nothing is touched."""

from __future__ import annotations

import sys

from tng_compiler.cli.exits import Exit
from tng_compiler.cli.inputs import document
from tng_compiler.cli.progress import working
from tng_compiler.cli.report import Format, report
from tng_compiler.diagnostics.located import Located
from tng_compiler.host.examine import examine
from tng_compiler.host.finding import located
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan
from tng_compiler.source.document import read


def run_doctor(argument: str | None, format_: Format, table: str) -> Exit:
    """Report on standard output; 0: could be applied, 1: the document has faults, 3: the host is not ready."""
    if argument is None:
        return _say([], preflight(None), format_, "this host")
    name, data = document(argument, "doctor")
    with working(f"compiling {name}"):
        outcome = compile_bytes(name, data, instance=table)
    with working("looking at this host"):
        host = preflight(outcome.plan, name, data)
    return _say(list(outcome.found), host, format_, name)


def preflight(plan: Plan | None, name: str = "", data: bytes = b"") -> list[Located]:
    """What the host has to say to ``plan``, which was compiled from ``data``."""
    return located(examine(plan), read(name, data) if plan else None)


def _say(document: list[Located], host: list[Located], format_: Format, subject: str) -> Exit:
    report([*document, *host], format_, sys.stdout)
    if any(item.is_error for item in document):
        return Exit.FINDINGS
    if any(item.is_error for item in host):
        return Exit.HOST_NOT_READY
    if format_ is Format.TEXT:
        print(f"ok: {subject} {'can be applied' if subject != 'this host' else 'can run tng'}; nothing was touched")
    return Exit.CLEAN
