"""Places: one walk over a text whose grammar is right finds where the wanted values are.

What is not wanted is passed over by the C scanner of ``json``, or by one regex where it is short, so that a document at
the size limit takes a second or two.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from tng_compiler.diagnostics.pointer import parent

Offsets = tuple[int, int]


@dataclass(slots=True)
class Wanted:
    """A value to be found, or one around it (then not ``asked``), and where it was.

    ``inside``: by name, the first of those of one name, or by number, which counts members of an object as well.
    """

    asked: bool = False
    inside: dict[str | int, Wanted] = field(default_factory=dict)
    key: Offsets | None = None
    value: Offsets | None = None

    def at(self, path: Iterable[str | int]) -> Wanted:
        """Return what is inside by a path, which is made if need be."""
        found = self
        for step in path:
            found = found.inside.setdefault(step, Wanted())
        return found


@dataclass(frozen=True, slots=True)
class Found:
    """The offsets of wanted pointers and of what is around them; ``keys`` of members only."""

    values: dict[str, Offsets]
    keys: dict[str, Offsets]


def walk(text: str, pointers: Iterable[str]) -> Found:
    """Find the values of pointers."""
    wanted: dict[str, Wanted] = {"": Wanted()}
    for pointer in pointers:
        _wanted(wanted, pointer).asked = True
    find(text, wanted[""])
    values = {pointer: place.value for pointer, place in wanted.items() if place.value}
    return Found(values, {pointer: place.key for pointer, place in wanted.items() if place.key})


def _wanted(known: dict[str, Wanted], pointer: str) -> Wanted:
    """Return what is wanted at a pointer, where a number may be an index or a name."""
    missing = []
    while pointer not in known:
        missing.append(pointer)
        pointer = parent(pointer)
    found = known[pointer]
    for pointer in reversed(missing):
        token = pointer.rpartition("/")[2]
        known[pointer] = found.inside.setdefault(token.replace("~1", "/").replace("~0", "~"), Wanted())
        found = known[pointer]
    return found


def find(text: str, wanted: Wanted) -> None:
    """Walk until all is found that is there."""
    _Walk(text).value(_blanks(text, 0), wanted, more=False)


@dataclass(frozen=True, slots=True)
class _Walk:
    text: str

    def value(self, start: int, wanted: Wanted, *, more: bool) -> int:
        """Find what is wanted of a value; return its end, unless nothing ``more`` is wanted behind it."""
        if wanted.inside and self.text[start] in "[{":
            end = self._inside(start, wanted, more=more or wanted.asked)
        else:
            end = _end(self.text, start)
        if end is None:
            return start
        wanted.value = (start, end)
        return end

    def _inside(self, start: int, wanted: Wanted, *, more: bool) -> int | None:
        """Find what is wanted inside of a container; return its end, None if nothing ``more`` was to be found."""
        array = self.text[start] == "["
        numbers = sorted((int(step) for step in wanted.inside if _INDEX.fullmatch(str(step))), reverse=True)
        left = len(wanted.inside)
        by_number = all(isinstance(step, int) for step in wanted.inside)
        number, at = 0, _blanks(self.text, start + 1)
        while self.text[at] not in "]}":
            if array or by_number:
                at, number = self._passed(_ITEM if array else _SHORT_MEMBER, at, number, numbers)
            if array:
                place = wanted.inside.get(number) or wanted.inside.get(str(number))
            else:
                place, at = self._member(at, number, wanted)
            if place:
                left -= 1
                at = self.value(at, place, more=more or left > 0)
                if not left:
                    return _end_of_container(self.text, at) if more else None
            else:
                at = _end(self.text, at)
            at = _blanks(self.text, at)
            if self.text[at] == ",":
                number, at = number + 1, _blanks(self.text, at + 1)
        return at + 1

    def _passed(self, short: re.Pattern[str], at: int, number: int, numbers: list[int]) -> tuple[int, int]:
        """Pass over what is ``short`` before the next of ``numbers``, which descend: return where the next is."""
        while numbers and numbers[-1] < number:
            numbers.pop()
        if numbers and numbers[-1] > number:
            for match in islice(iter(_one_by_one(short, self.text, at), None), numbers[-1] - number):
                at, number = match.end(), number + 1
        return _blanks(self.text, at), number

    def _member(self, at: int, number: int, wanted: Wanted) -> tuple[Wanted | None, int]:
        """Read the name of a member: return what is wanted of it, and where its value begins."""
        match = _NAME.match(self.text, at)
        assert match
        raw = match[1]
        place = wanted.inside.get(json.loads(raw, strict=False) if "\\" in raw else raw[1:-1])
        if place is None or place.key:
            place = wanted.inside.get(number)
        if place:
            place.key = match.span(1)
        return place, match.end()


def _one_by_one(short: re.Pattern[str], text: str, at: int) -> Callable[[], re.Match[str] | None]:
    """Return what matches the next one behind the one before; the stubs do not know of it."""
    found: Callable[[], re.Match[str] | None] = short.scanner(text, at).match  # type: ignore[attr-defined]
    return found


def _blanks(text: str, at: int) -> int:
    """Return where the blanks at ``at`` end."""
    if text[at : at + 1] not in _BLANKS:
        return at
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _end(text: str, start: int) -> int:
    """Return the end of the value that begins at ``start``."""
    if text[start] in "[{":
        return _end_of_container(text, start + 1)
    match = _ANY_SCALAR.match(text, start)
    assert match
    return match.end()


def _end_of_container(text: str, at: int) -> int:
    """Return the end of the innermost container that is open at ``at``."""
    depth = 1
    for match in LEVELS.finditer(text, at):
        if match.end() - match.start() > 1:
            continue
        depth += 1 if match[0] in "[{" else -1
        if not depth:
            return match.end()
    return len(text)


_BLANKS = frozenset(" \t\r\n")
_BLANK = re.compile(r"[ \t\r\n]*+")
_INDEX = re.compile(r"[0-9]{1,9}", re.ASCII)
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NAME = re.compile(rf"({_STRING})[ \t\r\n]*+:[ \t\r\n]*+", re.DOTALL)
_SCALAR = rf"(?:{_STRING}|-?[0-9]{{1,9}}+(?![0-9.eE])|true|false|null)"
_ANY_SCALAR = re.compile(rf'{_STRING}|[^"\[\]{{}},: \t\r\n]++', re.DOTALL)
_SPACED = rf"[ \t\r\n]*+{_SCALAR}[ \t\r\n]*+"
_MEMBER = rf"[ \t\r\n]*+{_STRING}[ \t\r\n]*+:{_SPACED}"
_MEMBERS = rf"\{{(?:{_MEMBER}(?:,{_MEMBER})*+)?+[ \t\r\n]*+\}}"
_VALUES = rf"\[(?:{_SPACED}(?:,{_SPACED})*+)?+[ \t\r\n]*+\]"
_ITEM = re.compile(rf"[ \t\r\n]*+(?:{_SCALAR}|{_MEMBERS}|{_VALUES})[ \t\r\n]*+,", re.DOTALL)
"""Items of an array that hold nothing but scalars."""
_SHORT_MEMBER = re.compile(rf"{_MEMBER},", re.DOTALL)
LEVELS = re.compile(rf'{_STRING}|{_MEMBERS}|{_VALUES}|[\[\]{{}}"]', re.DOTALL)
"""What matters for the depth: brackets. Strings, which may hold some, and short containers are passed over as one.

A quotation mark alone is a string that is not closed.
"""
