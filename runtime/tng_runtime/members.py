"""Typed getters for the members of JSON objects: what is missing, unknown or of another type raises ``HostError``."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TypeVar, cast

from tng_runtime.errors import HostError

T = TypeVar("T")


class Members:
    """A JSON object whose members are taken one by one; ``close`` refuses what nobody took."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise bad(path, f"expected an object, got {_kind(value)}")
        self._members = cast("dict[str, object]", value)
        self._left = set(self._members)
        self._path = path

    def has(self, name: str) -> bool:
        return name in self._members

    def get(self, name: str, parse: Callable[[object, str], T]) -> T:
        if name not in self._members:
            raise bad(f"{self._path}/{name}", "is missing")
        self._left.discard(name)
        return parse(self._members[name], f"{self._path}/{name}")

    def close(self) -> None:
        if self._left:
            raise bad(f"{self._path}/{min(self._left)}", "is not known to this version; it may restrict something")


def matching(pattern: str) -> Callable[[object, str], str]:
    """Text that the whole pattern matches."""

    def parse(value: object, path: str) -> str:
        text = text_of(value, path)
        if not re.fullmatch(pattern, text):
            raise bad(path, f"expected text like {pattern}, got {text!r}")
        return text

    return parse


def one_of(*choices: str) -> Callable[[object, str], str]:
    """One of these words."""
    return matching("|".join(choices))


def between(low: int, high: int) -> Callable[[object, str], int]:
    """An integer from ``low`` to ``high``."""

    def parse(value: object, path: str) -> int:
        number = integer(value, path)
        if not low <= number <= high:
            raise bad(path, f"expected {low} to {high}, got {number}")
        return number

    return parse


def listed(parse: Callable[[object, str], T]) -> Callable[[object, str], tuple[T, ...]]:
    """An array, each item of which ``parse`` reads."""

    def parse_all(value: object, path: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise bad(path, f"expected an array, got {_kind(value)}")
        return tuple(parse(item, f"{path}/{index}") for index, item in enumerate(value))

    return parse_all


def nullable(parse: Callable[[object, str], T]) -> Callable[[object, str], T | None]:
    """``null``, or what ``parse`` reads."""
    return lambda value, path: None if value is None else parse(value, path)


def string_map(value: object, path: str) -> tuple[tuple[str, str], ...]:
    """An object whose values are text, in its order."""
    if not isinstance(value, dict):
        raise bad(path, f"expected an object, got {_kind(value)}")
    return tuple((name, text_of(item, f"{path}/{name}")) for name, item in value.items())


def text_of(value: object, path: str) -> str:
    """Text that is not empty."""
    if not isinstance(value, str) or not value:
        raise bad(path, f"expected text, got {_kind(value)}")
    return value


def integer(value: object, path: str) -> int:
    """An integer."""
    # bool is a subclass of int, and true is not a port.
    if not isinstance(value, int) or isinstance(value, bool):
        raise bad(path, f"expected an integer, got {_kind(value)}")
    return value


def boolean(value: object, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise bad(path, f"expected true or false, got {_kind(value)}")
    return value


def _kind(value: object) -> str:
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    return "nothing" if value in ("", None) else json.dumps(value)[:40]


def bad(path: str, problem: str) -> HostError:
    """What is raised about the value at ``path``."""
    return HostError(
        f"manifest.json: {path or 'the document'}: {problem}",
        hint="compile it again with the tng of this version; a manifest is not edited by hand",
        exit_code=1,
    )
