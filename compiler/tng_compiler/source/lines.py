"""Offsets to lines and columns, both from 1, columns in characters; a line ends at a line feed, as editors count."""

from __future__ import annotations

from bisect import bisect_right

from tng_compiler.diagnostics.diagnostic import Span


class Lines:
    """The line starts of one text."""

    def __init__(self, text: str) -> None:
        self._starts = [0]
        self._texts: dict[int, str] = {}
        at = text.find("\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = text.find("\n", at + 1)

    def span(self, start: int, end: int) -> Span:
        """Return the span of the characters ``[start, end)``."""
        line = bisect_right(self._starts, start)
        return Span(start, end, line, start - self._starts[line - 1] + 1)

    def text_at(self, text: str, offset: int) -> str:
        """Return the line that holds an offset, without its end: the same string for the same line.

        A document may be one line of 16 MiB, and every finding shows its line.
        """
        line = bisect_right(self._starts, offset)
        if line not in self._texts:
            end = self._starts[line] - 1 if line < len(self._starts) else len(text)
            self._texts[line] = text[self._starts[line - 1] : end].removesuffix("\r")
        return self._texts[line]
