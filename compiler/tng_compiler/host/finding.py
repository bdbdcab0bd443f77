"""One finding: a diagnostic, at a place of the document or at what the host said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity, Span
from tng_compiler.diagnostics.located import Excerpt, Located
from tng_compiler.source.document import Document
from tng_compiler.source.locate import locate

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@dataclass(frozen=True, slots=True)
class Finding:
    """``source`` is the file or command of the host whose line ``number`` (from 1) is ``line``; None: the document."""

    diagnostic: Diagnostic
    source: str | None = None
    number: int = 1
    line: str = ""


def in_document(code: Code, severity: Severity, pointer: str, message: str, advice: str) -> Finding:
    """A finding about what the document says at ``pointer``."""
    return Finding(Diagnostic(code, severity, message, Place(pointer), (), advice))


def on_host(
    code: Code, severity: Severity, source: str, line: str, message: str, advice: str, number: int = 1
) -> Finding:
    """A finding about a line of a file, or of what a command printed."""
    return Finding(Diagnostic(code, severity, message, Place(""), (), advice), source, number, line)


def located(findings: Iterable[Finding], document: Document | None) -> list[Located]:
    """Give each its place: those of the host first, then those of the document in its order."""
    given = list(findings)
    placed = [
        Located(item.source, item.diagnostic, Excerpt(Span(0, len(item.line), item.number, 1), item.line))
        for item in given
        if item.source is not None
    ]
    of_document = [item.diagnostic for item in given if item.source is None]
    return placed + list(locate(document, of_document) if document else ())
