"""The fast path: the standard ``json``, with hooks that notice what RFC 8259 forbids or leaves undefined.

The hooks only notice; where the fault is, and which, is the exact path's business (``faults``).
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

MAX_DEPTH = 128
"""Nested arrays and objects; the same as the Rust TNG's."""

_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


@dataclass(frozen=True, slots=True)
class Reading:
    """``suspicious``: the text is JSON by its grammar, yet some rule beyond the grammar may be broken."""

    value: object
    suspicious: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Not JSON: ``position`` is the offset in characters at which reading ended, None if nesting ended it."""

    position: int | None


def read(text: str) -> Reading | Unreadable:
    """Read one JSON document; any text has an answer.

    CPython's C scanner counts its own recursion against the interpreter's limit, so nesting of any depth ends in an
    exception and not in a crash. A number of more than 4,300 digits is a ValueError.
    """
    noticed: list[str] = []

    def members(pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) != len(pairs):
            noticed.append("duplicate")
        return value

    def constant(name: str) -> None:
        noticed.append(name)

    def real(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            noticed.append(digits)
        return value

    try:
        value = json.loads(text, object_pairs_hook=members, parse_constant=constant, parse_float=real)
    except json.JSONDecodeError as error:
        return Unreadable(error.pos)
    except RecursionError:
        return Unreadable(None)
    except ValueError:
        return Reading(None, suspicious=True)
    surrogate = _SURROGATE_ESCAPE.search(text) is not None
    return Reading(value, suspicious=bool(noticed) or surrogate or _too_deep(text, value))


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
