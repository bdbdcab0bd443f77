"""``diff``: two documents, two directories, or a document and what runs now.

Exit status: 0 compared, 1 a document has errors or there is a change that ``--expect`` or ``--fail-on`` does not
allow, 2 usage, 3 nothing runs here (``--live``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tng_compiler.cli.app import DiffFormat, FailOn
from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import document, documents
from tng_compiler.cli.live import live_document
from tng_compiler.cli.progress import working
from tng_compiler.cli.report import Format, report
from tng_compiler.diagnostics.quoting import visible
from tng_compiler.diff.changes import Change, Difference, compare
from tng_compiler.diff.danger import Danger
from tng_compiler.diff.render_text import AnyChange, by_danger, headline
from tng_compiler.pipeline import Outcome, compile_bytes
from tng_compiler.plan.types import Plan
from tng_compiler.regions.flow import witness

Named = tuple[str, Difference]


def run_diff(old: str, new: str | None, format_: DiffFormat, expect: str | None, fail_on: FailOn | None) -> Exit:
    """Compare; ``new`` None is ``--live``: what runs now against the document ``old``."""
    allowed = _expected(expect) if expect else None
    with working("compiling"):
        pairs = _live(old) if new is None else _pairs(old, new)
    errors = [item for pair in pairs for side in pair[1:] if side for item in side.found if item.is_error]
    if errors:
        report(errors, Format.TEXT, sys.stderr)
        return Exit.FINDINGS
    with working("comparing"):
        differences = [(name, _compared(before, after)) for name, before, after in pairs]
    fleet = Path(new) if new is not None and Path(new).is_dir() else None
    sys.stdout.write(_text(differences, format_, fleet))
    if allowed is not None and fleet is None:
        # One document is the one that was reviewed, whatever it was called.
        allowed = dict.fromkeys((name for name, _ in differences), frozenset().union(*allowed.values()))
    return _judge(differences, allowed, fail_on)


def _compared(before: Outcome | None, after: Outcome | None) -> Difference:
    return compare(_plan(before), _plan(after))


def _plan(outcome: Outcome | None) -> Plan | None:
    return outcome.plan if outcome else None


def _pairs(old: str, new: str) -> list[tuple[str, Outcome | None, Outcome | None]]:
    """Return the documents of both sides by name; one that only one side has is against a host without rules."""
    if Path(old).is_dir() != Path(new).is_dir():
        fail(Exit.USAGE, f"one of {old} and {new} is a directory", "compare two documents, or two directories")
    if not Path(old).is_dir():
        return [(new, _one(old), _one(new))]
    before, after = _fleet(old), _fleet(new)
    if not before and not after:
        fail(Exit.USAGE, f"no *.json in the directories {old} and {new}")
    return [(name, before.get(name), after.get(name)) for name in sorted({*before, *after})]


def _live(argument: str) -> list[tuple[str, Outcome | None, Outcome | None]]:
    if Path(argument).is_dir():
        fail(Exit.USAGE, f"{argument} is a directory", "--live takes one document")
    wanted = _one(argument)
    table = wanted.plan.instance if wanted.plan else "tng"
    return [(argument, compile_bytes("what runs now", live_document(table)), wanted)]


def _one(argument: str) -> Outcome:
    ((name, data),) = documents([argument])
    return compile_bytes(name, data)


def _fleet(directory: str) -> dict[str, Outcome]:
    if not any(member.suffix == ".json" for member in Path(directory).iterdir()):
        return {}
    return {Path(name).name: compile_bytes(name, data) for name, data in documents([directory])}


def _text(differences: Sequence[Named], format_: DiffFormat, fleet: Path | None) -> str:
    match format_:
        case DiffFormat.JSON:
            from tng_compiler.diff.render_json import render as json_

            return json_(differences)
        case DiffFormat.GITHUB:
            from tng_compiler.diff.render_review import github

            # Annotations stand at a path of the repository.
            return github([(str(fleet / name) if fleet else name, found) for name, found in differences])
        case DiffFormat.MARKDOWN:
            from tng_compiler.diff.render_review import markdown

            return markdown(differences)
        case DiffFormat.TEXT:
            from tng_compiler.diff.render_text import NOTHING, render

            if fleet is None:
                return render(differences[0][1])
            changed = [(visible(name, 200), difference) for name, difference in differences if not difference.empty]
            parts = [f"==> {name} <==\n{render(difference)}" for name, difference in changed]
            same = len(differences) - len(parts)
            return "\n".join([*parts, *([f"{NOTHING}, in {same} document{'s' * (same != 1)}\n"] if same else ())])


Allowed = dict[str, frozenset[str]]
"""The identities of the changes that are allowed, by the document's name."""


def _expected(path: str) -> Allowed:
    """Read a file that ``--format json`` wrote."""
    _, data = document(path, "--expect")
    try:
        return {
            each["name"]: frozenset(change["id"] for kind in ("changes", "doors", "settings") for change in each[kind])
            for each in json.loads(data)["documents"]
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        fail(Exit.USAGE, f"{path} is not a report of `tng diff --format json`", "write one, review it, and keep it")


def _judge(differences: Sequence[Named], allowed: Allowed | None, fail_on: FailOn | None) -> Exit:
    faults: list[str] = []
    for name, difference in differences:
        reviewed = allowed.get(name, frozenset()) if allowed else frozenset()
        changes = [change for change in by_danger(difference) if change.identity not in reviewed]
        name = visible(name, 200)
        if allowed is not None:
            faults += [f"{name}: not expected: {_named(change)}" for change in changes]
        if fail_on:
            some = [change for change in changes if fail_on is FailOn.ANY or change.danger is Danger.UNPROTECTED]
            faults += [f"{name}: {change.danger.value}: {_named(change)}" for change in some]
    for fault in dict.fromkeys(faults):
        print(f"tng: {fault}", file=sys.stderr)
    return Exit.FINDINGS if faults else Exit.CLEAN


def _named(change: AnyChange) -> str:
    named = witness(change.regions[0]) if isinstance(change, Change) else headline(change)
    return f"{named} (change {change.identity})"
