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
        value: object = _DECODER.decode(_characters(text))
    except (ValueError, RecursionError) as error:
        raise _not_strict(error, code, what) from None
    _bounded(value, code, what)
    return value


def parse_object(text: bytes | str, code: Code, what: str) -> dict[str, Any]:
    """As :func:`parse`, for a document that must be an object."""
    value = parse(text, code, what)
    if not isinstance(value, dict):
        raise Refused(code, f"{what} is not a JSON object")
    return value


def parse_small_object(text: bytes | str, most: int, code: Code, what: str) -> dict[str, Any]:
    """As :func:`parse_object`, for at most ``most`` members: what follows one too many is not parsed."""
    try:
        members = _members(_characters(text), most)
    except (ValueError, RecursionError) as error:
        raise _not_strict(error, code, what) from None
    if members is None:
        raise Refused(code, f"{what} has more than {most} members, or is no JSON object")
    _bounded(members, code, what)
    return members


def canonical(value: object) -> str:
    """RFC 8785 for what occurs here: sorted members, no spaces, characters unescaped. Numbers other than integers
    are not canonicalised.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _members(text: str, most: int) -> dict[str, Any] | None:
    """One member after the other; None if there are too many, or if it is no object (RFC 8259, section 4)."""
    at = _space(text, 0)
    if text[at : at + 1] != "{":
        return None
    members: dict[str, Any] = {}
    at = _space(text, at + 1)
    separator = "}" if text[at : at + 1] == "}" else ","
    while separator == ",":
        if len(members) == most:
            return None
        name, at = _DECODER.raw_decode(text, at)
        at = _space(text, at)
        if not isinstance(name, str) or name in members or text[at : at + 1] != ":":
            raise ValueError("no member")
        members[name], at = _DECODER.raw_decode(text, _space(text, at + 1))
        at = _space(text, at)
        separator = text[at : at + 1]
        # After a comma another member is due; raw_decode misses it.
        at = _space(text, at + 1) if separator == "," else at
    if separator != "}" or _space(text, at + 1) != len(text):
        raise ValueError("no end")
    return members


def _space(text: str, at: int) -> int:
    while text[at : at + 1] in _SPACES:
        at += 1
    return at


def _characters(text: bytes | str) -> str:
    return text.decode("utf-8") if isinstance(text, bytes) else text


def _not_strict(error: Exception, code: Code, what: str) -> Refused:
    # The reader's message may quote the text; only its kind is told.
    return Refused(code, f"{what} is not strict JSON ({type(error).__name__})")


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


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant, parse_float=_finite)
_SPACES = frozenset(" \t\n\r")


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
