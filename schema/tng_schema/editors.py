"""The schema of the configuration as editors get it: it accepts the same, and completes nothing that nobody wants.

An optional scalar may be ``null``, as in the Rust TNG. An editor that reads ``"type": ["string", "null"]`` offers
``null`` wherever a value is missing; one that reads the same as a condition (``if`` it is not null, ``then`` a string)
does not, and says "expected a string" of a number.
"""

from __future__ import annotations

from typing import Any

_ANNOTATIONS = ("title", "description", "examples", "default", "$schema", "$id")


def for_editors(schema: dict[str, Any]) -> dict[str, Any]:
    """Return ``schema`` without any type that is a choice between something and null."""
    found: dict[str, Any] = _rewritten(schema)
    return found


def _rewritten(node: Any) -> Any:
    if isinstance(node, list):
        return [_rewritten(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {
        name: value if name in ("examples", "default", "enum") else _rewritten(value) for name, value in node.items()
    }
    types = node.get("type")
    if not isinstance(types, list) or "null" not in types:
        return node
    (wanted,) = (name for name in types if name != "null")
    told = {name: node[name] for name in _ANNOTATIONS if name in node and node[name] is not None}
    demanded = {name: value for name, value in node.items() if name not in _ANNOTATIONS and name != "type"}
    return {**told, "if": {"not": {"type": "null"}}, "then": {"type": wanted, **demanded}}
