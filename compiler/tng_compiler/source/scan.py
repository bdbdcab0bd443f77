"""The exact path: one walk over the tokens gives every pointer its place, and every rule beyond the grammar its fault.

A walk costs about a microsecond a token, so a document at the size limit stays in the order of seconds.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.diagnostics.pointer import child, parent
from tng_compiler.diagnostics.quoting import visible
from tng_compiler.source.fast import MAX_DEPTH
from tng_compiler.source.grammar import VALUES, tokens
from tng_compiler.source.lines import Lines

MAX_FAULTS = 100
"""Faults of the text reported in one run; more of them say nothing new."""


@dataclass(slots=True)
class _Frame:
    """An open container; ``index`` is None in an object, ``name`` the current member's.

    ``left``: how many wanted places inside of it, not deeper, are not found yet.
    """

    pointer: str
    start: int
    left: int
    index: int | None
    name: str = ""
    after_colon: bool = False
    names: dict[str, tuple[int, int]] = field(default_factory=dict)
    dull: tuple[int, int] | None = None
    """Where items were skipped that ``index`` does not count yet."""

    def step(self, text: str) -> str | int:
        """Return the name or the index of what is being read."""
        if self.dull and self.index is not None:
            self.index += sum(1 for _ in _DULL_ITEM.finditer(text, *self.dull))
            self.dull = None
        return self.name if self.index is None else self.index

    def here(self) -> str:
        return child(self.pointer, self.name if self.index is None else self.index)


@dataclass(frozen=True, slots=True)
class _Fault:
    code: Code
    pointer: str
    message: str
    span: tuple[int, int]
    help: str
    first: tuple[int, int] | None = None


@dataclass(slots=True)
class Walk:
    """What one walk found. ``values`` and ``keys`` hold the offsets of wanted pointers only."""

    text: str
    wanted: frozenset[str]
    judging: bool
    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: list[_Fault] = field(default_factory=list)
    stack: list[_Frame] = field(default_factory=list)
    inside: dict[str, int] = field(default_factory=dict)
    spent: int = 0

    def run(self) -> None:
        """Walk to the end, or until there is no point in going on."""
        for pointer in self.wanted - {""}:
            self.inside[parent(pointer)] = self.inside.get(parent(pointer), 0) + 1
        resume: int | None = 0
        while resume is not None:
            resume = self._run_from(resume)

    def _run_from(self, offset: int) -> int | None:
        """Walk until the end, or up to a container of nothing wanted: return where the text goes on behind it."""
        for kind, start, end in tokens(self.text, offset):
            top = self.stack[-1] if self.stack else None
            if top and not top.left and not self.judging:
                return self._leave(top, start)
            if top is None:
                self._value(kind, "", start, end)
            elif kind == "COLON":
                top.after_colon = True
            elif kind == "COMMA":
                top.after_colon = False
                if top.index is not None:
                    top.index += 1
            elif kind in _CLOSERS:
                self._close(end)
            elif top.index is None and not top.after_colon:
                self._name(top, (start, end))
            else:
                resume = self._judged(kind, start, end) if self.judging else self._sought(top, kind, start, end)
                if resume is not None:
                    return resume
            if len(self.faults) >= MAX_FAULTS or len(self.stack) > MAX_DEPTH or self.spent > _MOST_POINTERS:
                break
        return None

    def _judged(self, kind: str, start: int, end: int) -> int | None:
        """Judge a value: return where the text goes on if more than its first token is done with."""
        self._value(kind, "", start, end)
        if kind == "LSQB" and (dull := _DULL_ITEMS.match(self.text, end)):
            self.stack[-1].dull = dull.span()
            return dull.end()
        return None

    def _sought(self, frame: _Frame, kind: str, start: int, end: int) -> int | None:
        """Note the place of a value if it is wanted, else return where the text goes on behind it."""
        pointer = frame.here()
        if pointer in self.wanted:
            frame.left -= 1
            self._value(kind, pointer, start, end)
            return None
        if kind not in _OPENERS:
            return None
        dull, behind = _DULL_ITEM.match(self.text, start), start
        while frame.index is not None and dull and frame.here() not in self.wanted:
            frame.index += 1
            behind = dull.end()
            dull = _DULL_ITEM.match(self.text, behind)
        return behind if behind > start else _SKIP(self.text, start)[1]

    def _leave(self, frame: _Frame, inside: int) -> int:
        """Close the innermost container, in which nothing more is wanted: return where the text goes on behind it."""
        depth, end = 1, len(self.text)
        for match in _BRACKETS.finditer(self.text, inside):
            char = self.text[match.start()]
            if char != '"':
                depth += 1 if char in "[{" else -1
            if not depth:
                end = match.end()
                break
        self._close(end)
        frame.after_colon = False
        return end

    def _close(self, end: int) -> None:
        frame = self.stack.pop()
        if not self.judging and frame.pointer in self.wanted:
            self.values[frame.pointer] = (frame.start, end)

    def _value(self, kind: str, pointer: str, start: int, end: int) -> None:
        if not self.judging and pointer in self.wanted:
            self.values.setdefault(pointer, (start, end))
        if kind in _OPENERS:
            left = self.inside.get(pointer, 0)
            self.stack.append(_Frame(pointer, start, left, 0 if kind == "LSQB" else None))
            if self.judging and len(self.stack) > MAX_DEPTH:
                message = f"expected at most {MAX_DEPTH} nested arrays and objects, found more"
                help_ = "no configuration nests deeper than 6"
                self.stack.pop()
                self._fault(Code.TOO_DEEP, message, (start, end), help_)
                self.stack.append(_Frame("", start, 0, None))
        elif self.judging and (kind != "NUMBER" or end - start >= _SHORT):
            self._judge_scalar(kind, (start, end))

    def _fault(
        self, code: Code, message: str, span: tuple[int, int], help_: str, first: tuple[int, int] | None = None
    ) -> None:
        """Note a fault at the current place, whose pointer is made only here: names may be as long as the text."""
        pointer = "".join(child("", frame.step(self.text)) for frame in self.stack)
        self.spent += len(pointer)
        self.faults.append(_Fault(code, pointer, message, span, help_, first))

    def _name(self, frame: _Frame, span: tuple[int, int]) -> None:
        raw = self.text[span[0] : span[1]]
        frame.name = json.loads(raw) if "\\" in raw else raw[1:-1]
        if not self.judging:
            if (pointer := frame.here()) in self.wanted:
                self.keys.setdefault(pointer, span)
            return
        first = frame.names.setdefault(frame.name, span)
        if first is not span:
            message = f"expected every name once in an object, found {visible(raw)} again"
            self._fault(Code.DUPLICATE_KEY, message, span, "keep one of the two", first)
        self._judge_surrogates(raw, span)

    def _judge_scalar(self, kind: str, span: tuple[int, int]) -> None:
        raw = self.text[span[0] : span[1]]
        if kind == "STRING":
            self._judge_surrogates(raw, span)
        elif kind not in VALUES:
            message = f"expected a JSON value, found {visible(raw)}, which JSON does not have"
            self._fault(Code.NOT_A_NUMBER, message, span, "write a finite number")
        elif kind == "NUMBER" and (len(raw) > _LONG or ("e" in raw.lower() and math.isinf(float(raw)))):
            message = f"expected a number that computers can hold, found {visible(raw, 24)}"
            self._fault(Code.NOT_A_NUMBER, message, span, "write a finite number")

    def _judge_surrogates(self, raw: str, span: tuple[int, int]) -> None:
        if "\\u" in raw and any("\ud800" <= char <= "\udfff" for char in json.loads(raw)):
            message = "expected Unicode text, found half of a surrogate pair"
            help_ = "write the character itself, or both halves: \\ud83d\\ude00"
            self._fault(Code.LONE_SURROGATE, message, span, help_)


_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)
"""What matters for the end of a container: brackets, and strings, which may hold some."""
_SCALAR = r'(?:"[^"\\]*+"|-?[0-9]{1,9}+|true|false|null)'
_MEMBER = rf'[ \t\r\n]*+"[^"\\]*+"[ \t\r\n]*+:[ \t\r\n]*+{_SCALAR}'
_DULL = rf"[ \t\r\n]*+(?:{_SCALAR}|\{{(?:{_MEMBER})?+[ \t\r\n]*+\}})[ \t\r\n]*+,"
_DULL_ITEM, _DULL_ITEMS = re.compile(_DULL), re.compile(f"(?:{_DULL})++")
"""Items of an array that cannot be at fault: scalars without escapes, and objects with at most one member of them."""
_MOST_POINTERS = 32 * 1024 * 1024
_SKIP = json.JSONDecoder().raw_decode
"""Reads one value in C: the fastest way to its end."""
_OPENERS = frozenset({"LBRACE", "LSQB"})
_CLOSERS = frozenset({"RBRACE", "RSQB"})
_SHORT = 5
"""Digits of a number below which it is finite, whatever they are."""
_LONG = 300
"""Digits of a number above which nobody means a number; the largest double has 309."""


def walk(text: str, wanted: Iterable[str] = (), *, judge: bool = False) -> Walk:
    """Walk a text whose grammar is right; ``judge`` also collects the faults that the grammar does not know.

    The containers of what is wanted are found as well.
    """
    found = Walk(text, _with_containers(wanted), judge)
    found.run()
    return found


def _with_containers(pointers: Iterable[str]) -> frozenset[str]:
    closed = {""}
    for pointer in pointers:
        while pointer not in closed:
            closed.add(pointer)
            pointer = parent(pointer)
    return frozenset(closed)


def faults(text: str, lines: Lines) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a text beyond its grammar: duplicates, depth, numbers and characters that are none.

    ``lines`` are those of what the author wrote, of which ``text`` may be a repaired copy of the same length.
    """
    return tuple(
        Diagnostic(
            fault.code,
            Severity.ERROR,
            fault.message,
            Place(fault.pointer, "key" if fault.first else "value", lines.span(*fault.span)),
            (Note(Place(fault.pointer, "key", lines.span(*fault.first)), "the first is here"),) if fault.first else (),
            fault.help,
        )
        for fault in walk(text, judge=True).faults
    )
