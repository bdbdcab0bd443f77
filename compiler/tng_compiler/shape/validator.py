"""jsonschema, made to choose a branch by its discriminator and to answer for 100,000 items in a fraction of a second.

- ``anyOf`` that says what a value can be descends into the one branch whose ``type`` is the instance's: a best match
  over all branches guesses, and its guesses are wrong where they matter.
- ``8080.0`` and ``true`` are not integers (JSON Schema says that 8080.0 is one).
- Keywords that relate fields to each other are for editors; ``model`` checks the same with better messages.
- Items that ``fits`` are passed over; it is proven by a test to accept nothing that jsonschema refuses. Nor are those
  looked at of which there are too many: that is said, and there may be millions.
- The registry is explicit and empty: jsonschema's default one would download remote references.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from math import inf
from typing import Any

from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

import tng_schema
from tng_compiler.shape.fits import check

_EDITORS_ONLY = (
    "allOf",
    "oneOf",
    "not",
    "if",
    "dependencies",
    "pattern",
    "minItems",
    "minProperties",
)


def _is_integer(_checker: object, value: object) -> bool:
    return type(value) is int


def _is_number(_checker: object, value: object) -> bool:
    return type(value) in (int, float)


def _items(
    validator: Any, items: Mapping[str, Any], instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, list) or len(instance) > schema.get("maxItems", inf):
        return
    fits = check(items)
    for index, item in enumerate(instance):
        if not fits(item):
            yield from validator.descend(item, items, path=index)


def _additional(
    validator: Any, allowed: object, instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict) or len(instance) > schema.get("maxProperties", inf):
        return
    if allowed is not False:
        yield from Draft7Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, schema)
    elif not instance.keys() <= schema["properties"].keys():
        yield ValidationError("some are unknown")  # jsonschema would sort them all


def _any_of(
    validator: Any, branches: list[dict[str, Any]], instance: object, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if "type" in schema:  # a relation of fields
        return
    for index, branch in enumerate(branches):
        resolved = validator._resolver.lookup(branch["$ref"]).contents if "$ref" in branch else branch  # noqa: SLF001 - public only from inside jsonschema's own keywords
        if validator.is_type(instance, resolved["type"]):
            yield from validator.descend(instance, resolved, schema_path=index)
            return
    yield ValidationError("no branch has this type", validator="anyOf", instance=instance, schema=schema)


def _ignore(_validator: object, _value: object, _instance: object, _schema: object) -> Iterator[ValidationError]:
    return iter(())


# The stubs leave extend() untyped.
_Validator = extend(  # type: ignore[no-untyped-call]
    Draft7Validator,
    validators={
        "items": _items,
        "additionalProperties": _additional,
        "anyOf": _any_of,
        **dict.fromkeys(_EDITORS_ONLY, _ignore),
    },
    type_checker=Draft7Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
)


@cache
def _config() -> Any:
    return _Validator(tng_schema.load("config"), registry=Registry())


def errors(value: object) -> Iterator[ValidationError]:
    """Yield jsonschema's errors for a configuration, lazily."""
    yield from _config().iter_errors(value)
