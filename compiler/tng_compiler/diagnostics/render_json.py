"""Diagnostics for programs: one JSON document a run. Columns count characters, offsets too; ends are exclusive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from tng_compiler.diagnostics.diagnostic import Place, Severity, Span
from tng_compiler.diagnostics.located import Located

FORMAT_VERSION = 1


def render(found: Sequence[Located]) -> str:
    """Return the document; ``diagnostics`` is empty when there is nothing to say."""
    numbers = Counter(item.diagnostic.severity for item in found)
    document = {
        "format_version": FORMAT_VERSION,
        "summary": {f"{kind}s": numbers[kind] for kind in Severity},
        "diagnostics": [_diagnostic(item) for item in found],
    }
    return json.dumps(document, indent=2, ensure_ascii=True) + "\n"


def _diagnostic(item: Located) -> dict[str, object]:
    diagnostic = item.diagnostic
    return {
        "code": diagnostic.code.value,
        "severity": diagnostic.severity.value,
        "message": diagnostic.message,
        "help": diagnostic.help,
        "file": item.file,
        **_place(diagnostic.place, item.at.span),
        "notes": [
            {"message": note.message, **_place(note.place, excerpt.span)}
            for note, excerpt in zip(diagnostic.notes, item.notes, strict=True)
        ],
    }


def _place(place: Place, span: Span) -> dict[str, object]:
    return {
        "pointer": place.pointer,
        "target": place.target,
        "line": span.line,
        "column": span.column,
        "offset": span.start,
        "length": span.end - span.start,
    }
