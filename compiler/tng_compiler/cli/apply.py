"""``apply``: compile, and become the runtime."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import documents
from tng_compiler.cli.outputs import write_directory
from tng_compiler.cli.report import Format, report
from tng_compiler.cli.runtime import become, find_runtime
from tng_compiler.pipeline import compile_bytes
from tng_schema import contract

# Execution keeps the process id, by which the runtime knows its documents and removes them with its end.
STATE_ROOT = Path(contract.RUN_DIRECTORY)


def run_apply(argument: str, state_dir: str | None, command: Sequence[str], *, strict: bool) -> Exit:
    """Read a document, and ``execute`` it."""
    if Path(argument).is_dir():
        fail(Exit.USAGE, f"{argument} is a directory", "apply takes one document")
    (name, data), *_ = documents([argument])
    return execute(name, data, state_dir, command, strict=strict)


def execute(name: str, data: bytes, state_dir: str | None, command: Sequence[str], *, strict: bool) -> Exit:
    """Compile into a private directory and execute ``command`` of the runtime on it; return only when there are faults.

    ``command`` is ``run`` with options before and after it; the directory is appended.
    """
    outcome = compile_bytes(name, data, strict=strict)
    report(outcome.found, Format.TEXT, sys.stderr)
    if outcome.plan is None:
        return Exit.FINDINGS
    program = find_runtime()
    directory = Path(state_dir) if state_dir else STATE_ROOT / f"{outcome.plan.instance}.{os.getpid()}"
    _make_private(directory)
    write_directory(outcome.plan, directory)
    return become(program, [*command, str(directory)])


def _make_private(directory: Path) -> None:
    """Make a directory that nobody else can write to: what lies in it is executed with our privileges."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        help_ = "apply needs root; --state-dir names another directory" if os.geteuid() else None
        fail(Exit.HOST_NOT_READY, f"cannot make {directory}: {error.strerror or error}", help_)
    theirs = None if stat.S_ISDIR(status.st_mode) else directory
    # The runtime looks once more before it executes anything; here it is where we are going to write.
    way = directory.resolve()
    theirs = theirs or next((path for path in (way, *way.parents) if _others_write(path, final=path == way)), None)
    if theirs is not None:
        fail(
            Exit.HOST_NOT_READY,
            f"{directory} is not ours alone to write to: {theirs}",
            f"chown it to root and chmod go-w it, or name another directory: {theirs}",
        )


def _others_write(path: Path, *, final: bool) -> bool:
    status = path.lstat()
    sticky = status.st_mode & stat.S_ISVTX and status.st_uid == 0 and not final
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & 0o022 and not sticky)
