"""What is wrong with a text beyond its grammar: duplicates, depth, numbers and characters that are none.

The fast path marks what it stumbles over, so that a search of the values finds the ways to it; one walk over the text
then finds the places. Reading every token with its position would take ten times as long.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import NoneType

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity, Span
from tng_compiler.diagnostics.pointer import pointer_of
from tng_compiler.diagnostics.quoting import visible
from tng_compiler.source.fast import LONGEST_NUMBER, MAX_DEPTH, Odd, Reading, Twice, read
from tng_compiler.source.lines import Lines
from tng_compiler.source.scan import LEVELS, Wanted, find

MAX_FAULTS = 100
"""Faults of the text reported in one run; more of them say nothing new."""
_MOST_POINTERS = 32 * 1024 * 1024
"""Characters of all pointers together: a name may be as long as the text."""
_HUGE = 10**LONGEST_NUMBER
Step = tuple[int, str | int]
"""The number of an item or a member, and its index or its name."""


@dataclass(frozen=True, slots=True)
class _Fault:
    """``first``: the number of the member that had the name before, of a duplicate; ``named``: it is about the name."""

    code: Code
    path: tuple[Step, ...]
    named: bool = False
    first: int | None = None


def faults(text: str, lines: Lines, reading: Reading | None) -> tuple[Diagnostic, ...]:
    """Return the faults of a text whose grammar is right, as far as it was read: ``None`` is nested too deeply for it.

    ``lines`` are those of what the author wrote, of which ``text`` may be a repaired copy of the same length.
    """
    deep = None
    if reading is None or reading.deep:
        deep = _first_too_deep(text)
        text = _without(text, deep)
        again = read(text)
        assert isinstance(again, Reading)
        reading = again
    search = _Search(surrogates=reading.surrogates)
    search.run(reading.value)
    wanted = Wanted()
    for fault in search.found:
        numbers = [number for number, _ in fault.path]
        wanted.at(numbers).asked = True
        if fault.first is not None:
            wanted.at([*numbers[:-1], fault.first]).asked = True
    find(text, wanted)
    told = [_told(fault, text, wanted, lines) for fault in search.found]
    if deep is not None and len(told) < MAX_FAULTS:
        told.append(_too_deep(reading.value, lines.span(deep, deep + 1)))
    return tuple(told)


class _EnoughError(Exception):
    """More faults would say nothing new."""


class _Search:
    """``found`` has the faults of a value in their order; ``surrogates``: texts are to be looked at as well."""

    def __init__(self, *, surrogates: bool) -> None:
        self.found: list[_Fault] = []
        self._surrogates = surrogates
        self._path: list[Step] = []
        self._spent = 0

    def run(self, value: object) -> None:
        """Search a whole document."""
        try:
            self._judge(value)
            self._inside(value)
        except _EnoughError:
            pass

    def _inside(self, value: object) -> None:
        path = self._path
        if isinstance(value, list):
            for number, member in enumerate(value):
                if type(member) in _PLAIN:
                    continue
                path.append((number, number))
                self._judge(member)
                if member:
                    self._inside(member)
                path.pop()
        elif isinstance(value, dict):
            pairs = value.pairs if isinstance(value, Twice) else value.items()
            seen: dict[str, int] = {}
            for number, (name, member) in enumerate(pairs):
                path.append((number, name))
                if (first := seen.setdefault(name, number)) != number:
                    self._add(Code.DUPLICATE_KEY, named=True, first=first)
                if self._surrogates and not name.isascii() and _SURROGATE.search(name):
                    self._add(Code.LONE_SURROGATE, named=True)
                if type(member) not in _PLAIN:
                    self._judge(member)
                    if member:
                        self._inside(member)
                path.pop()

    def _judge(self, value: object) -> None:
        if isinstance(value, str):
            if self._surrogates and not value.isascii() and _SURROGATE.search(value):
                self._add(Code.LONE_SURROGATE)
        elif isinstance(value, Odd) or (type(value) is int and not -_HUGE < value < _HUGE):
            self._add(Code.NOT_A_NUMBER)

    def _add(self, code: Code, *, named: bool = False, first: int | None = None) -> None:
        self.found.append(_Fault(code, tuple(self._path), named, first))
        self._spent += sum(len(str(name)) for _, name in self._path)
        if len(self.found) >= MAX_FAULTS or self._spent > _MOST_POINTERS:
            raise _EnoughError


def _told(fault: _Fault, text: str, wanted: Wanted, lines: Lines) -> Diagnostic:
    numbers = [number for number, _ in fault.path]
    here = wanted.at(numbers)
    span = here.key if fault.named else here.value
    assert span
    raw = text[slice(*span)]
    pointer = pointer_of(name for _, name in fault.path)
    notes: tuple[Note, ...] = ()
    if fault.first is not None and (first := wanted.at([*numbers[:-1], fault.first]).key):
        notes = (Note(Place(pointer, "key", lines.span(*first)), "the first is here"),)
    message, help_ = _said(fault.code, raw)
    place = Place(pointer, "key" if notes else "value", lines.span(*span))
    return Diagnostic(fault.code, Severity.ERROR, message, place, notes, help_)


def _said(code: Code, raw: str) -> tuple[str, str]:
    """Return message and help about a token."""
    if code is Code.DUPLICATE_KEY:
        return f"expected every name once in an object, found {visible(raw)} again", "keep one of the two"
    if code is Code.LONE_SURROGATE:
        help_ = "write the character itself, or both halves: \\ud83d\\ude00"
        return "expected Unicode text, found half of a surrogate pair", help_
    if raw[-1].isdecimal():
        return f"expected a number that computers can hold, found {visible(raw, 24)}", "write a finite number"
    return f"expected a JSON value, found {visible(raw)}, which JSON does not have", "write a finite number"


def _first_too_deep(text: str) -> int:
    """Return where the first array or object begins that is nested too deeply; there is one."""
    depth = 0
    for match in LEVELS.finditer(text):
        char = text[match.start()]
        if char in "[{" and depth == MAX_DEPTH:
            return match.start()
        if match.end() - match.start() == 1:
            depth += 1 if char in "[{" else -1
    raise AssertionError(depth)


def _without(text: str, at: int) -> str:
    """Return the text up to ``at``, and ``null`` instead of the rest."""
    opened: list[str] = []
    for match in LEVELS.finditer(text, 0, at):
        if match.end() - match.start() > 1:
            continue
        if match[0] in "[{":
            opened.append("]" if match[0] == "[" else "}")
        else:
            opened.pop()
    return f"{text[:at]}null{''.join(reversed(opened))}"


def _too_deep(value: object, span: Span) -> Diagnostic:
    """Return what is said of the last value of all, which stands for what is nested too deeply."""
    path: list[str | int] = []
    while isinstance(value, (dict, list)) and value:
        path.append(len(value) - 1 if isinstance(value, list) else next(reversed(value)))
        value = value[path[-1]]  # type: ignore[index]
    message = f"expected at most {MAX_DEPTH} nested arrays and objects, found more"
    place = Place(pointer_of(path), "value", span)
    return Diagnostic(Code.TOO_DEEP, Severity.ERROR, message, place, (), "no configuration nests deeper than 6")


_PLAIN = frozenset({bool, NoneType, float})
_SURROGATE = re.compile("[\ud800-\udfff]")
