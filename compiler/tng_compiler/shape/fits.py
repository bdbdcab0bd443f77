"""What is certainly of the right shape, told in a few microseconds: jsonschema takes fifty, and there may be a million.

Made of the schema itself, of the keywords that ``validator`` looks at. False means only that jsonschema should look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from math import inf
from types import NoneType
from typing import Any

import tng_schema
from tng_compiler.shape.plain import plain

Check = Callable[[object], bool]
_KINDS: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float),
    "boolean": (bool,), "null": (NoneType,),
}  # fmt: skip
_DESTINATION = "#/$defs/capture_dst_item"


@cache
def document() -> Check:
    """Return the check of a whole configuration."""
    return check(tng_schema.load("config"))


def check(schema: Mapping[str, Any]) -> Check:
    """Return the check of what a schema of the configuration's is about."""
    if schema.get("$ref") == _DESTINATION:
        return plain
    schema = _resolved(schema)
    if "enum" in schema:
        choices = frozenset(schema["enum"])
        return lambda value: type(value) is str and value in choices
    if "type" not in schema:
        branches = {kind: check(branch) for branch in schema["anyOf"] for kind in _kinds(_resolved(branch))}
        return lambda value: type(value) in branches and branches[type(value)](value)
    return _typed(schema)


def _typed(schema: Mapping[str, Any]) -> Check:
    kinds = _kinds(schema)
    low, high = schema.get("minimum", -inf), schema.get("maximum", inf)
    shortest, most = schema.get("minLength", 0), schema.get("maxItems", inf)
    members = _members(schema)
    item: Check = check(schema["items"]) if "items" in schema else lambda _value: True

    def fits(value: Any) -> bool:
        kind = type(value)
        if kind not in kinds:
            return False
        if kind is str:
            return bool(len(value) >= shortest)
        if kind is dict:
            return members(value)
        if kind is list:
            return bool(len(value) <= most) and all(map(item, value))
        return kind in (bool, NoneType) or bool(low <= value <= high)

    return fits


def _members(schema: Mapping[str, Any]) -> Callable[[dict[str, Any]], bool]:
    named = {name: check(member) for name, member in schema.get("properties", {}).items()}
    others = schema.get("additionalProperties", False)
    other: Check = check(others) if others else lambda _value: False
    required, most = frozenset(schema.get("required", ())), schema.get("maxProperties", inf)
    return lambda value: (
        len(value) <= most
        and required <= value.keys()
        and all(named.get(name, other)(member) for name, member in value.items())
    )


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = tng_schema.load("config")["$defs"][schema["$ref"].rpartition("/")[2]]
    return found


def _kinds(schema: Mapping[str, Any]) -> frozenset[type]:
    types = schema["type"]
    return frozenset(kind for name in ([types] if isinstance(types, str) else types) for kind in _KINDS[name])
