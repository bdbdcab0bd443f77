"""The one value that says what is wrong with a configuration.

Stages speak in JSON pointers; ``source`` turns a pointer into a ``Span`` only when something is rendered, because
reading a document with positions is many times slower than reading it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from tng_compiler.diagnostics.codes import Code


class Severity(StrEnum):
    """``--strict`` turns warnings into errors; a note says what the author has not to mend."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range in the text: ``start``/``end`` are offsets in characters, ``line``/``column`` count from 1."""

    start: int
    end: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where: a JSON pointer (RFC 6901), and whether its member name or its value is meant.

    ``span`` is set when the place is known without the pointer (a syntax error has no pointer).
    """

    pointer: str
    target: Literal["value", "key"] = "value"
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A secondary place: the other duplicate, the entry that shadows."""

    place: Place
    message: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """``message`` names what was expected before what was found; ``help`` says what to do next."""

    code: Code
    severity: Severity
    message: str
    place: Place
    notes: tuple[Note, ...] = ()
    help: str | None = None
