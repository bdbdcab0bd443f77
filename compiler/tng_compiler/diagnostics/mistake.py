"""What is wrong with a flow or a pattern, with a caret under it: as the diagnostics of a document show theirs."""

from __future__ import annotations

from dataclasses import dataclass

from tng_compiler.diagnostics.quoting import cells, printed, visible

_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Mistake:
    """``[start, end)`` are offsets in characters into the text; ``message`` names what was expected before the rest."""

    message: str
    start: int
    end: int
    help: str


class MistakeError(Exception):
    """Carries a ``Mistake`` out of the reader."""

    def __init__(self, mistake: Mistake) -> None:
        super().__init__(mistake.message)
        self.mistake = mistake


def number(digits: str) -> int | None:
    """Return what the digits of an author say, None if they are none; too many for ``int`` are a number as large."""
    return int(digits.lstrip("0")[:20] or "0") if digits.isdecimal() else None


def render(name: str, text: str, mistake: Mistake) -> str:
    """Return the paragraph for people; what does not print is shown as U+FFFD, so that no text drives a terminal."""
    first = 0 if mistake.start < _SHOWN // 2 else mistake.start - _SHOWN // 4
    line = printed(text[first : first + _SHOWN])
    before = cells(line[: mistake.start - first])
    marked = max(1, cells(line[mistake.start - first : mistake.end - first]))
    return (
        f"error: {visible(mistake.message, 400)}\n"
        f" --> {name}:1:{mistake.start + 1}\n"
        f"  |\n"
        f"1 | {line}\n"
        f"  | {' ' * before}{'^' * marked}\n"
        f"  |\n"
        f"  = help: {mistake.help}\n"
    )
