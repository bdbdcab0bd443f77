"""The exact path: one walk over the tokens gives every pointer its place, and every rule beyond the grammar its fault.

A walk costs about a microsecond a token, so a document at the size limit stays in the order of seconds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.diagnostics.pointer import child
from tng_compiler.source.fast import MAX_DEPTH
from tng_compiler.source.grammar import VALUES, tokens
from tng_compiler.source.lines import Lines

MAX_FAULTS = 100
"""Faults of the text reported in one run; more of them say nothing new."""


@dataclass(slots=True)
class _Frame:
    """An open container; ``index`` is None in an object, ``name`` the current member's."""

    pointer: str
    start: int
    index: int | None
    name: str = ""
    name_span: tuple[int, int] = (0, 0)
    after_colon: bool = False
    names: dict[str, tuple[int, int]] = field(default_factory=dict)

    def here(self) -> str:
        return child(self.pointer, self.name if self.index is None else self.index)


@dataclass(slots=True)
class Walk:
    """What one walk found. ``values`` and ``keys`` hold offsets, of wanted pointers only."""

    wanted: frozenset[str]
    values: dict[str, tuple[int, int]] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    faults: list[tuple[Code, str, str, tuple[int, int], tuple[int, int] | None, str]] = field(default_factory=list)


def walk(text: str, wanted: Iterable[str] = (), *, judge: bool = False) -> Walk:
    """Walk a text whose grammar is right; ``judge`` also collects the faults that the grammar does not know."""
    found = Walk(frozenset(wanted))
    stack: list[_Frame] = []
    for kind, start, end in tokens(text):
        top = stack[-1] if stack else None
        if kind == "COLON" and top:
            top.after_colon = True
        elif kind == "COMMA" and top:
            top.after_colon = False
            if top.index is not None:
                top.index += 1
        elif kind in ("RBRACE", "RSQB") and top:
            stack.pop()
            if top.pointer in found.wanted:
                found.values[top.pointer] = (top.start, end)
        elif kind == "STRING" and top and top.index is None and not top.after_colon:
            _enter_member(text, found, top, (start, end), judge=judge)
        else:
            pointer = top.here() if top else ""
            if pointer in found.wanted:
                found.values.setdefault(pointer, (start, end))
            if kind in ("LBRACE", "LSQB"):
                stack.append(_Frame(pointer, start, 0 if kind == "LSQB" else None))
                if judge and len(stack) == MAX_DEPTH + 1:
                    _too_deep(found, pointer, (start, end))
            elif judge:
                _judge_scalar(text, found, kind, pointer, (start, end))
        if len(found.faults) >= MAX_FAULTS or len(stack) > MAX_DEPTH:
            break
    return found


def _enter_member(text: str, found: Walk, frame: _Frame, span: tuple[int, int], *, judge: bool) -> None:
    raw = text[span[0] : span[1]]
    frame.name = json.loads(raw) if "\\" in raw else raw[1:-1]
    frame.name_span = span
    pointer = frame.here()
    if pointer in found.wanted:
        found.keys.setdefault(pointer, span)
    if not judge:
        return
    first = frame.names.setdefault(frame.name, span)
    if first is not span:
        message = f"expected every member name once, found {raw[:60]} again"
        found.faults.append((Code.DUPLICATE_KEY, pointer, message, span, first, "keep one of the two"))
    _judge_surrogates(found, raw, pointer, span)


def _judge_scalar(text: str, found: Walk, kind: str, pointer: str, span: tuple[int, int]) -> None:
    raw = text[span[0] : span[1]]
    if kind == "STRING":
        _judge_surrogates(found, raw, pointer, span)
    elif kind not in VALUES:
        message = f"expected a JSON value, found {raw[:60]}, which JSON does not have"
        found.faults.append((Code.NOT_A_NUMBER, pointer, message, span, None, "write a finite number"))
    elif kind == "NUMBER" and (len(raw) > 300 or ("e" in raw.lower() and math.isinf(float(raw)))):
        message = (
            f"expected a finite number, found {raw[:20]}{'…' if len(raw) > 20 else ''}, which no computer word holds"
        )
        found.faults.append((Code.NOT_A_NUMBER, pointer, message, span, None, "write a finite number"))


def _judge_surrogates(found: Walk, raw: str, pointer: str, span: tuple[int, int]) -> None:
    if "\\u" in raw and any("\ud800" <= char <= "\udfff" for char in json.loads(raw)):
        message = "expected Unicode text, found half of a surrogate pair"
        help_ = "write the character itself, or both halves: \\ud83d\\ude00"
        found.faults.append((Code.LONE_SURROGATE, pointer, message, span, None, help_))


def _too_deep(found: Walk, pointer: str, span: tuple[int, int]) -> None:
    message = f"expected at most {MAX_DEPTH} nested arrays and objects, found more"
    found.faults.append((Code.TOO_DEEP, pointer, message, span, None, "no configuration nests deeper than 6"))


def faults(text: str) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a text beyond its grammar: duplicates, depth, numbers and characters that are none."""
    lines = Lines(text)
    return tuple(
        Diagnostic(
            code,
            Severity.ERROR,
            message,
            Place(pointer, "key" if code is Code.DUPLICATE_KEY else "value", lines.span(*span)),
            notes=(Note(Place(pointer, "key", lines.span(*first)), "the first is here"),) if first else (),
            help=help_,
        )
        for code, pointer, message, span, first, help_ in walk(text, judge=True).faults
    )
