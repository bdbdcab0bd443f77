"""Diagnostics out, in the format asked for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import TextIO

from tng_compiler.diagnostics.diagnostic import Severity
from tng_compiler.diagnostics.located import Located


class Format(StrEnum):
    """How diagnostics are written."""

    TEXT = "text"
    JSON = "json"
    GITHUB = "github"
    SARIF = "sarif"


def report(found: Sequence[Located], format_: Format, stream: TextIO) -> None:
    """Write all diagnostics of a run; a format for programs is written also when there are none."""
    match format_:
        case Format.TEXT:
            if found:
                from tng_compiler.diagnostics.render_text import render as text

                stream.write(text(found, colour=stream.isatty() and "NO_COLOR" not in os.environ))
                stream.write(f"\n{summary(found)}\n")
        case Format.JSON:
            from tng_compiler.diagnostics.render_json import render as json

            stream.write(json(found))
        case Format.GITHUB:
            from tng_compiler.diagnostics.render_github import render as github

            stream.write(github(found))
        case Format.SARIF:
            from tng_compiler.diagnostics.render_sarif import render as sarif

            stream.write(sarif(found))


def summary(found: Sequence[Located]) -> str:
    """Return the last line of a report, which says where to read more."""
    numbers = Counter(item.diagnostic.severity for item in found)
    counts = [f"{numbers[kind]} {kind}{'s' * (numbers[kind] != 1)}" for kind in Severity if numbers[kind]]
    return f"{' and '.join(counts)}; `tng explain-code {found[0].diagnostic.code.value}` says more"
