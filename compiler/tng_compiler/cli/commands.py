"""``check``, ``compile`` and ``schema``: the pipeline over documents, all or nothing."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import documents
from tng_compiler.cli.outputs import texts, write_directory
from tng_compiler.cli.progress import working
from tng_compiler.cli.report import Format, report
from tng_compiler.pipeline import Backend, Outcome, compile_bytes
from tng_compiler.plan.allocate import INSTANCE

BEYOND = "no document shows, and no rule sees: nat chains of other tables before priority -105 (docs/security.md)"


def run_check(arguments: Sequence[str], format_: Format, *, strict: bool, emit: str = "nft") -> Exit:
    """Report on standard output, which is this command's result."""
    outcomes = _compile(arguments, emit, strict=strict)
    report([item for outcome in outcomes for item in outcome.found], format_, sys.stdout)
    if all(outcome.plan for outcome in outcomes):
        if format_ is Format.TEXT:
            print(f"ok: {len(outcomes)} document{'s' * (len(outcomes) != 1)}")
            print(BEYOND)
        return Exit.CLEAN
    return Exit.FINDINGS


def run_compile(
    arguments: Sequence[str], emit: str, output: str | None, format_: Format, *, strict: bool, table: str = INSTANCE
) -> Exit:
    """Write every document's output, or none when one has an error."""
    outcomes = _compile(arguments, emit, strict=strict, table=table)
    found = [item for outcome in outcomes for item in outcome.found]
    if found or format_ is not Format.TEXT:
        report(found, format_, sys.stderr)
    if not all(outcome.plan for outcome in outcomes):
        return Exit.FINDINGS
    if output is None:
        return _print(outcomes, emit)
    alone = len(outcomes) == 1 and not any(Path(argument).is_dir() for argument in arguments)
    directories = [Path(output)] if alone else _directories(Path(output), outcomes)
    for outcome, directory in zip(outcomes, directories, strict=True):
        assert outcome.plan
        with working(f"writing {directory}"):
            write_directory(outcome.plan, directory)
    return Exit.CLEAN


def run_schema() -> Exit:
    """Print the schema of the language, for editors."""
    import json

    from tng_schema import load
    from tng_schema.editors import for_editors

    print(json.dumps(for_editors(load("config")), indent=2, ensure_ascii=False))
    return Exit.CLEAN


def _compile(arguments: Sequence[str], emit: str, *, strict: bool, table: str = INSTANCE) -> list[Outcome]:
    backend: Backend = "iptables" if emit == "iptables" else "nft"
    found = []
    for name, data in documents(arguments):
        with working(f"compiling {name}"):
            found.append(compile_bytes(name, data, strict=strict, backend=backend, instance=table))
    return found


def _print(outcomes: Sequence[Outcome], emit: str) -> Exit:
    for outcome in outcomes:
        assert outcome.plan
        if len(outcomes) > 1:
            print(f"==> {outcome.name} <==")
        sys.stdout.write(texts(outcome.plan, emit))
    return Exit.CLEAN


def _directories(output: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    stems = ["stdin" if outcome.name == "<stdin>" else Path(outcome.name).stem for outcome in outcomes]
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice:
        fail(Exit.USAGE, f"several documents would be written to {output / twice[0]}", "compile them one at a time")
    return [output / stem for stem in stems]
