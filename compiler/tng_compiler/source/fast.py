"""The fast path: the standard ``json``, with hooks that notice what RFC 8259 forbids or leaves undefined.

The hooks only notice; where the fault is, and which, is the business of ``beyond``.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

MAX_DEPTH = 128
"""Nested arrays and objects; the same as the Rust TNG's."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


LONGEST_NUMBER = 300
"""Digits above which nobody means a number; the largest double has 309."""


class Odd(float):
    """What stands for a number that computers cannot hold, and for what JSON does not have."""


class Twice(dict[str, object]):
    """An object that has a name twice: ``pairs`` are all of its members, of which the last of a name counts."""

    __slots__ = ("pairs",)

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


@dataclass(frozen=True, slots=True)
class Reading:
    """``suspicious``: the text is JSON by its grammar, yet some rule beyond the grammar may be broken.

    Then there may be an ``Odd`` or a ``Twice`` in ``value``, halves of ``surrogates`` written as escapes, or it is too
    ``deep``.
    """

    value: object
    suspicious: bool
    surrogates: bool
    deep: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Not JSON: ``position`` is the offset in characters at which reading ended, None if nesting ended it."""

    position: int | None


def read(text: str) -> Reading | Unreadable:
    """Read one JSON document; any text has an answer.

    CPython's C scanner counts its own recursion against the interpreter's limit, so nesting of any depth ends in an
    exception and not in a crash. It refuses a number of more than 4,300 digits; then each is looked at.
    """
    odd = False

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        nonlocal odd
        value = dict(pairs)
        if len(value) != len(pairs):
            odd = True
            return Twice(pairs)
        return value

    def marked(_raw: str) -> Odd:
        nonlocal odd
        odd = True
        return Odd("nan")

    def real(digits: str) -> float | Odd:
        value = float(digits)
        return marked(digits) if math.isinf(value) or len(digits) > LONGEST_NUMBER else value

    def whole(digits: str) -> int | Odd:
        return marked(digits) if len(digits) > LONGEST_NUMBER else int(digits)

    try:
        try:
            value = json.loads(text, object_pairs_hook=members, parse_constant=marked, parse_float=real)
        except json.JSONDecodeError:
            raise
        except ValueError:
            value = json.loads(
                text, object_pairs_hook=members, parse_constant=marked, parse_float=real, parse_int=whole
            )
    except json.JSONDecodeError as error:
        return Unreadable(error.pos)
    except RecursionError:
        return Unreadable(None)
    surrogates = _SURROGATE_ESCAPE.search(text) is not None
    deep = _too_deep(text, value)
    return Reading(value, odd or surrogates or deep, surrogates, deep)


def _too_deep(text: str, value: object) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
