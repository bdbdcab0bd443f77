"""A schema fragment in words, for the front half of "expected ..., found ..."."""

from __future__ import annotations

from typing import Any

_NOUNS = {
    "object": "an object",
    "array": "a list",
    "string": "a text",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
}


def expected(schema: dict[str, Any]) -> str:
    """Describe what a fragment accepts; a ``null`` that only means absence is not worth a word."""
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if "anyOf" in schema and "type" not in schema:
        nouns = {"capture_dst_item": "object", "dst_filter": "object", "cgroup_path": "text", "interface": "text"}
        return " or ".join(
            f"{'an' if nouns.get(_referred(branch)) == 'object' else 'a'} {nouns.get(_referred(branch), 'value')}"
            if "$ref" in branch
            else f"a list of {nouns.get(_referred(branch['items']), 'text')}s"
            for branch in schema["anyOf"]
        )
    types = schema.get("type", [])
    names = [types] if isinstance(types, str) else [name for name in types if name != "null"]
    noun = " or ".join(_NOUNS[name] for name in names)
    if "minimum" in schema and "maximum" in schema:
        return f"{noun} from {schema['minimum']} to {schema['maximum']}"
    return noun or "a value"


def _referred(branch: dict[str, Any]) -> str:
    return str(branch.get("$ref", "")).rpartition("/")[2]
