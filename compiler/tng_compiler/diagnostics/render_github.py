"""Diagnostics as workflow commands of GitHub Actions, which shows them at their lines.

https://docs.github.com/actions/reference/workflow-commands-for-github-actions: data escapes ``%``, CR and LF;
properties escape ``:`` and ``,`` as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from tng_compiler.diagnostics.diagnostic import Severity
from tng_compiler.diagnostics.located import Located


def render(found: Iterable[Located]) -> str:
    """Return one line a diagnostic."""
    return "".join(f"{_line(item)}\n" for item in found)


def _line(item: Located) -> str:
    diagnostic, span = item.diagnostic, item.at.span
    on_one_line = span.end - span.start <= len(item.at.line) - span.column + 1
    end = f",endColumn={span.column + span.end - span.start}" if on_one_line else ""
    message = f"{diagnostic.message}\nhelp: {diagnostic.help}" if diagnostic.help else diagnostic.message
    place = f"file={property_text(item.file)},line={span.line},col={span.column}{end}"
    # Workflow commands call a note a notice.
    command = "notice" if diagnostic.severity is Severity.NOTE else diagnostic.severity.value
    return f"::{command} {place},title={diagnostic.code.value}::{data_text(message)}"


def data_text(text: str) -> str:
    """Escape the text of a command."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def property_text(text: str) -> str:
    """Escape the value of a property."""
    return data_text(text).replace(":", "%3A").replace(",", "%2C")
