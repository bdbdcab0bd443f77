"""Diagnostics as SARIF 2.1.0 (OASIS), for code scanning and for editors. Columns count Unicode code points."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

from tng_compiler import __version__
from tng_compiler.diagnostics.catalogue import CATALOGUE
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.located import Excerpt, Located
from tng_schema import contract

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(found: Sequence[Located]) -> str:
    """Return one log with one run."""
    used = sorted({item.diagnostic.code for item in found}, key=lambda code: code.value)
    log = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "tng",
                        "semanticVersion": __version__,
                        "informationUri": contract.HOME,
                        "rules": [_rule(code) for code in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(item, used.index(item.diagnostic.code)) for item in found],
            }
        ],
    }
    return json.dumps(log, indent=2, ensure_ascii=True) + "\n"


def _rule(code: Code) -> dict[str, object]:
    explanation = CATALOGUE[code]
    return {
        "id": code.value,
        "name": code.name.title().replace("_", ""),
        "shortDescription": {"text": f"{explanation.title}."},
        "fullDescription": {"text": explanation.why},
        "help": {"text": f"{explanation.why} `tng explain-code {code.value}` says it with an example."},
    }


def _result(item: Located, rule: int) -> dict[str, object]:
    diagnostic = item.diagnostic
    text = f"{diagnostic.message}. Help: {diagnostic.help}" if diagnostic.help else diagnostic.message
    result: dict[str, object] = {
        "ruleId": diagnostic.code.value,
        "ruleIndex": rule,
        "level": diagnostic.severity.value,
        "message": {"text": text},
        "locations": [{"physicalLocation": _physical(item.file, item.at)}],
    }
    if diagnostic.notes:
        result["relatedLocations"] = [
            {"id": index, "message": {"text": note.message}, "physicalLocation": _physical(item.file, excerpt)}
            for index, (note, excerpt) in enumerate(zip(diagnostic.notes, item.notes, strict=True), 1)
        ]
    return result


def _physical(file: str, excerpt: Excerpt) -> dict[str, object]:
    span = excerpt.span
    region = {
        "startLine": span.line,
        "startColumn": span.column,
        "charOffset": span.start,
        "charLength": span.end - span.start,
    }
    return {"artifactLocation": {"uri": quote(file.encode("utf-8", "surrogateescape"), safe="/")}, "region": region}
