"""What the programs share: the two JSON Schemas, data files that ``load`` reads, and ``contract``."""

from __future__ import annotations

from typing import Any, Literal

SchemaName = Literal["config", "manifest"]


def load(name: SchemaName) -> dict[str, Any]:
    """Return the parsed ``{name}.schema.json`` (JSON Schema, draft 7 and 2020-12)."""
    # The runtime imports this package for its contract alone.
    import json
    from importlib.resources import files

    schema: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.schema.json").read_text("utf-8"))
    return schema
