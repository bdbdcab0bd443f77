"""Destinations that another instance captures as well: it has rules of its own, and only one of the two gets them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import running
from tng_compiler.host.finding import WARNING, Finding, in_document
from tng_compiler.host.places import state_directory
from tng_compiler.host.tables import instances
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan
from tng_compiler.regions.solve import View, solve
from tng_compiler.regions.text import destinations, kind
from tng_schema import contract


def captured_twice(plan: Plan) -> Iterator[Finding]:
    """What ``plan`` and the document of another instance capture both; of one whose document is not kept, nothing."""

    def question(view: View) -> tuple[str, str] | None:
        before, after = view.fates
        return (before.entry, after.entry) if before.kind == after.kind == "captured" else None

    for name in sorted(instances() - {plan.instance}):
        other = _plan(name)
        region = next(iter(solve([other, plan], question)), None) if other else None
        if region is not None:
            what = f"{kind(region.way, region.protocol)} to {destinations(region)}"
            yield in_document(
                Code.CAPTURED_TWICE,
                WARNING,
                region.answer[1],
                f"expected what no other instance captures, found that {name} captures {what} as well",
                "one of the two gets it, and refuses it while it does not run: leave it out of one document",
            )


def _plan(table: str) -> Plan | None:
    """Of what the instance runs, or served last."""
    run = running.find(table)
    directory = state_directory() / table
    kept: list[Path] = []
    with suppress(OSError):
        kept = [path for path in directory.iterdir() if re.fullmatch(contract.RECORD, path.name)]
    kept.sort(key=lambda path: int(path.name.partition("-")[0]))
    named = [path for path in kept if run is not None and path.name == run.record]
    for record in (named or kept)[-1:]:
        with suppress(OSError):
            return compile_bytes(table, (record / "document.json").read_bytes(), instance=table).plan
    return None
