"""The answer for programs: the members of ``Answer``, and the exit status that goes with it."""

from __future__ import annotations

import json
from dataclasses import asdict

from tng_compiler.explain.answer import Answer


def render(answer: Answer, status: int) -> str:
    """Return one JSON document. ``when`` of a case is an object: the part of the flow, and what it is in this case."""
    document = asdict(answer)
    document["status"] = status
    for case, shown in zip(answer.cases, document["cases"], strict=True):
        shown["when"] = dict(case.when)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
