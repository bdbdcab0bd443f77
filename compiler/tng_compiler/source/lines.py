"""Offsets to lines and columns, both from 1, columns in characters; a line ends at a line feed, as editors count."""

from __future__ import annotations

from tng_compiler.diagnostics.diagnostic import Span

_STEP = 1 << 15


class Lines:
    """The lines of one text: line feeds are counted up to every ``_STEP``-th character, since a text may be all lines.

    ``text_at`` returns the same string for the same line: a text may also be one line of 12 MiB, and every finding
    shows its own.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._before = [0]
        for start in range(0, len(text), _STEP):
            self._before.append(self._before[-1] + text.count("\n", start, start + _STEP))
        self._texts: dict[int, str] = {}

    def span(self, start: int, end: int) -> Span:
        """Return the span of the characters ``[start, end)``."""
        step = start // _STEP
        line = self._before[step] + self._text.count("\n", step * _STEP, start) + 1
        return Span(start, end, line, start - self._begin(start) + 1)

    def text_at(self, text: str, offset: int) -> str:
        """Return the line of ``text`` that holds an offset, without its end."""
        begin = self._begin(offset)
        if begin not in self._texts:
            end = text.find("\n", offset)
            self._texts[begin] = text[begin : end if end >= 0 else len(text)].removesuffix("\r")
        return self._texts[begin]

    def _begin(self, offset: int) -> int:
        return self._text.rfind("\n", 0, offset) + 1
