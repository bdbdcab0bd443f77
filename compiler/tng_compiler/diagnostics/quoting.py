"""Foreign text inside our messages: bounded, on one line, and unable to drive a terminal."""

from __future__ import annotations

import json
import unicodedata
from typing import Any


def quote(text: str, limit: int = 60) -> str:
    """Return the text between backquotes, shortened to ``limit`` characters, controls and invisibles escaped."""
    return f"`{visible(text, limit)}`"


def visible(text: str, limit: int = 60) -> str:
    """Escape what does not print (controls, bidirectional marks, lone surrogates) and shorten with an ellipsis."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(char if char.isprintable() else _escape(char) for char in cut)


def _escape(char: str) -> str:
    plain = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
    return plain.get(char) or (f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")


def printed(text: str) -> str:
    """Show a line as it is, character by character: white space as blanks, what does not print as U+FFFD."""
    blank = text.translate({ord(char): " " for char in "\t\n\r"})
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in blank)


def cells(text: str) -> int:
    """Return how many cells of a terminal it takes: two for wide characters (UAX 11), none for combining marks."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in printed(text)
    )


def describe(value: Any) -> str:
    """Name a JSON value as found: its type, and the value itself where that is short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean `{str(value).lower()}`"
    if isinstance(value, (int, float)):
        return f"the number `{_digits(value)}`"
    if isinstance(value, str):
        return f"the text {json_text(value)}"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return "an object" if value else "an empty object"


def json_text(value: str, limit: int = 60) -> str:
    """Return a string as it would stand in the document."""
    return visible(
        json.dumps(value if len(value) <= limit else value[: limit - 1] + "…", ensure_ascii=False), limit + 40
    )


def _digits(value: float) -> str:
    if type(value) is float and value.is_integer() and abs(value) < 1e15:
        return f"{value:.0f}.0"
    return "…" if abs(value) >= 10**30 else str(value)
