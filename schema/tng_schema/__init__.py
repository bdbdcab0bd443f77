"""The two JSON Schemas that the programs share: data files and the one function that reads them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any, Literal

SchemaName = Literal["config", "manifest"]


def load(name: SchemaName) -> dict[str, Any]:
    """Return the parsed ``{name}.schema.json`` (JSON Schema draft 2020-12)."""
    schema: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.schema.json").read_text("utf-8"))
    return schema
