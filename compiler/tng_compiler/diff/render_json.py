"""A difference for programs, and what ``--expect`` reads: a JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tng_compiler.diff.changes import Change, Difference
from tng_compiler.regions.fates import Fate
from tng_compiler.regions.flow import endpoint, witness
from tng_compiler.regions.solve import Region

FORMAT_VERSION = 1
MOST_ROWS = 100


def render(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return one document for all pairs of documents, named after the new one."""
    documents = [
        {
            "name": name,
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
        "before": _fate(change.before),
        "after": _fate(change.after),
        "fields": [
            {"field": field.field, "before": field.before, "after": field.after, "weaker": field.weight == "weaker"}
            for field in change.fields
        ],
        "regions": [region_json(region) for region in change.regions],
    }


def _fate(fate: Fate) -> dict[str, object]:
    return {"fate": fate.kind, "entry": fate.entry or None, "why": fate.why or None}


def region_json(region: Region) -> dict[str, object]:
    """Return a region: its first rows, how many there are, its size as text (IPv6 is beyond doubles), a witness."""
    return {
        "family": region.family,
        "cgroups": None if region.cgroups is None else [f"/{path}" for path in region.cgroups],
        "sets": dict(region.sets),
        "size": str(region.size),
        "ranges": len(region.rows),
        "to": [
            {
                "first": endpoint(region.family, first).strip("[]"),
                "last": endpoint(region.family, last).strip("[]"),
                "ports": [list(pair) for pair in ports[:MOST_ROWS]],
            }
            for first, last, ports in region.rows[:MOST_ROWS]
        ],
        "witness": str(witness(region)),
    }
