"""A difference for programs, and what ``--expect`` reads: a JSON document."""

from __future__ import annotations

import json
from collections.abc import Sequence

from tng_compiler.diff.changes import Change, Difference, SettingChange
from tng_compiler.diff.doors import DoorChange, headline
from tng_compiler.diff.trust import FieldChange
from tng_compiler.regions.values import fate_json, region_json

FORMAT_VERSION = 3


def render(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return one document for all pairs of documents, named after the new one."""
    documents = [
        {
            "name": name,
            "doors": [_door(change) for change in difference.doors],
            "settings": [_setting(change) for change in difference.settings],
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
        "fields": _fields(change.fields),
        "regions": [region_json(region) for region in change.regions],
    }


def _door(change: DoorChange) -> dict[str, object]:
    return {
        "id": change.identity,
        "danger": change.danger.value,
        "change": change.what,
        "role": change.door.role,
        "kind": change.door.kind,
        "host": str(change.host),
        "ports": list(change.ports),
        "text": headline(change),
        "fields": _fields(change.fields),
    }


def _setting(change: SettingChange) -> dict[str, object]:
    return {
        "id": change.identity,
        "danger": change.danger.value,
        "setting": change.field,
        "before": change.before,
        "after": change.after,
    }


def _fields(fields: Sequence[FieldChange]) -> list[dict[str, object]]:
    return [
        {"field": field.field, "before": field.before, "after": field.after, "weaker": field.weight == "weaker"}
        for field in fields
    ]
