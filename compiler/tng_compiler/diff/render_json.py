"""A difference for programs, and what ``--expect`` reads: a JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tng_compiler.diff.changes import Change, Difference
from tng_compiler.regions.values import fate_json, region_json

FORMAT_VERSION = 1


def render(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return one document for all pairs of documents, named after the new one."""
    documents = [
        {
            "name": name,
            "doors": {"gone": list(difference.doors[0]), "new": list(difference.doors[1])},
            "so_mark": [list(some) for some in difference.marks] if difference.marks else None,
            "changes": [_change(change) for change in difference.changes],
        }
        for name, difference in differences
    ]
    return json.dumps({"format_version": FORMAT_VERSION, "documents": documents}, indent=2, ensure_ascii=True) + "\n"


def _change(change: Change) -> dict[str, object]:
    return {
        "id": change.identity,
        "danger": change.danger.value,
        "direction": change.way,
        "protocol": change.protocol,
        "before": fate_json(change.before),
        "after": fate_json(change.after),
        "fields": [
            {"field": field.field, "before": field.before, "after": field.after, "weaker": field.weight == "weaker"}
            for field in change.fields
        ],
        "regions": [region_json(region) for region in change.regions],
    }
