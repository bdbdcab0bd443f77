"""Diagnostics for people: the line, a caret under the fault, the other places, and what to do.

Foreign text is shown with controls and invisibles escaped, so that a document cannot drive the terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.diagnostics.located import Excerpt, Located
from tng_compiler.diagnostics.quoting import cells, printed, visible

_WIDTH = 96
_BOLD, _RED, _YELLOW, _BLUE, _RESET = "\x1b[1m", "\x1b[1;31m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[0m"


def render(found: Iterable[Located], *, colour: bool = False) -> str:
    """Return one paragraph a diagnostic, and nothing at all for none."""
    return "\n".join("\n".join(_paragraph(item, colour)) + "\n" for item in found)


def _paragraph(item: Located, colour: bool) -> Iterator[str]:
    def paint(text: str, code: str) -> str:
        return f"{code}{text}{_RESET}" if colour else text

    diagnostic = item.diagnostic
    tone = _RED if item.is_error else _YELLOW
    margin = max(len(str(excerpt.span.line)) for excerpt in (item.at, *item.notes))
    empty = paint(f"{' ' * margin} |", _BLUE)
    label = paint(f"{diagnostic.severity.value}[{diagnostic.code.value}]", tone)
    yield f"{label}: {paint(diagnostic.message, _BOLD)}"
    file = visible(item.file, 200)
    yield f"{paint(' ' * margin + '-->', _BLUE)} {file}:{item.at.span.line}:{item.at.span.column}"
    yield empty
    shown_before, first = "", None
    marks = [("^", "", tone, item.at)]
    marks += [("-", note.message, _BLUE, at) for note, at in zip(diagnostic.notes, item.notes, strict=True)]
    for sign, message, colour_code, excerpt in marks:
        shown, before, marked, first = _window(excerpt, first if excerpt.line == item.at.line else None)
        line = f"{paint(f'{str(excerpt.span.line).rjust(margin)} |', _BLUE)} {shown}".rstrip()
        if line != shown_before:
            yield line
        shown_before = line
        yield f"{empty} {' ' * before}{paint(f'{sign * max(1, marked)} {message}'.rstrip(), colour_code)}"
    if diagnostic.help:
        yield empty
        yield f"{paint(' ' * margin + ' =', _BLUE)} {paint('help:', _BOLD)} {diagnostic.help}"


def _window(excerpt: Excerpt, first: int | None) -> tuple[str, int, int, int]:
    """Return the shown part of the line, the width before the mark and that of the mark in cells, and where it begins.

    ``first`` is where the window of the same line began before: kept where the mark fits into it.
    """
    line = excerpt.line
    column = min(excerpt.span.column - 1, len(line))
    length = max(1, min(excerpt.span.end - excerpt.span.start, len(line) - column))
    if first is None or not first <= column < first + _WIDTH - 1:
        first = 0 if len(line) <= _WIDTH or column < _WIDTH // 2 else column - _WIDTH // 3
    last = min(len(line), first + _WIDTH)
    head = "…" if first else ""
    tail = "…" if last < len(line) else ""
    shown = head + printed(line[first:last]) + tail
    before = len(head) + cells(line[first:column])
    return shown, before, cells(line[column : min(column + length, last)]), first
