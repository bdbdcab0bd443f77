"""JSON from foreigners (RFC 8259, with RFC 7493's strictness): no duplicate members, no NaN, bounded depth, whole
characters.

``json`` alone takes the last of two equal members, ``NaN``, and halves of surrogate pairs, and what it accepts may be
nested so deep that later code runs out of stack. Two readers that disagree about one document are an attack, hence
only one reading is left here.
"""

from __future__ import annotations

import json
import math
from typing import Any

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

MAX_DEPTH = 64


def parse(text: bytes | str, code: Code, what: str) -> object:
    """The value of a JSON document; raises ``Refused(code)`` whose detail calls the document ``what``."""
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        value: object = json.loads(decoded, object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        # The reader's message may quote the text; only its kind is told.
        raise Refused(code, f"{what} is not strict JSON ({type(error).__name__})") from None
    _bounded(value, code, what)
    return value


def parse_object(text: bytes | str, code: Code, what: str) -> dict[str, Any]:
    """As :func:`parse`, for a document that must be an object."""
    value = parse(text, code, what)
    if not isinstance(value, dict):
        raise Refused(code, f"{what} is not a JSON object")
    return value


def canonical(value: object) -> str:
    """RFC 8785 for what occurs here: sorted members, no spaces, characters unescaped. Numbers other than integers
    are not canonicalised.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("not a finite number")
    return number


def _bounded(value: object, code: Code, what: str) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        below: list[object] = []
        for item in level:
            if isinstance(item, str):
                _whole(item, code, what)
            elif isinstance(item, dict):
                below += item.keys()
                below += item.values()
            elif isinstance(item, list):
                below += item
        if not below:
            return
        level = below
    raise Refused(code, f"{what} is nested deeper than {MAX_DEPTH}")


def _whole(item: str, code: Code, what: str) -> None:
    try:
        item.encode("utf-8")
    except UnicodeEncodeError:
        raise Refused(code, f"{what} contains half a surrogate pair") from None
