"""A diagnostic with its places found: all that a renderer needs, without the document."""

from __future__ import annotations

from dataclasses import dataclass

from tng_compiler.diagnostics.diagnostic import Diagnostic, Severity, Span


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A span with the text of its first line, which has no line end and may be empty."""

    span: Span
    line: str


@dataclass(frozen=True, slots=True)
class Located:
    """``notes`` are the places of ``diagnostic.notes``, in their order."""

    file: str
    diagnostic: Diagnostic
    at: Excerpt
    notes: tuple[Excerpt, ...] = ()

    @property
    def is_error(self) -> bool:
        """Whether the document cannot be compiled because of it."""
        return self.diagnostic.severity is Severity.ERROR
