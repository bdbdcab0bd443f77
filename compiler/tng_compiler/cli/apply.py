"""``apply`` and ``down``: become the runtime. It is executed as a program of its own and never imported."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import documents
from tng_compiler.cli.outputs import write_directory
from tng_compiler.cli.report import Format, report
from tng_compiler.pipeline import compile_bytes
from tng_schema import contract

RUNTIME = "tng-runtime"
# Execution keeps the process id, by which the runtime knows its documents and removes them with its end.
STATE_ROOT = Path(contract.RUN_DIRECTORY)


def run_apply(argument: str, state_dir: str | None, options: Sequence[str], *, strict: bool) -> Exit:
    """Compile into a private directory and execute ``tng-runtime run`` on it; return only when there are faults."""
    if Path(argument).is_dir():
        fail(Exit.USAGE, f"{argument} is a directory", "apply takes one document")
    (name, data), *_ = documents([argument])
    outcome = compile_bytes(name, data, strict=strict)
    report(outcome.found, Format.TEXT, sys.stderr)
    if outcome.plan is None:
        return Exit.FINDINGS
    program = find_runtime()
    directory = Path(state_dir) if state_dir else STATE_ROOT / f"{outcome.plan.instance}.{os.getpid()}"
    _make_private(directory)
    write_directory(outcome.plan, directory, data)
    return _become(program, ["run", *options, str(directory)])


def run_down(arguments: Sequence[str]) -> None:
    """Execute ``tng-runtime down``."""
    _become(find_runtime(), ["down", *arguments])


def find_runtime() -> Path:
    """Return the runtime that was installed together with this program, else the one on PATH."""
    for neighbour in (sys.argv[0], sys.executable):
        beside = Path(neighbour).parent / RUNTIME
        if os.sep in neighbour and os.access(beside, os.X_OK):
            return beside.absolute()
    found = shutil.which(RUNTIME)
    if found is None:
        fail(
            Exit.HOST_NOT_READY,
            f"{RUNTIME} was not found beside this program, nor on PATH",
            "the base package `tng` brings it; the extra `compiler` alone does not",
        )
    return Path(found)


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


def _become(program: Path, arguments: Sequence[str]) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(program, [RUNTIME, *arguments])  # noqa: S606 - no shell is the point
    except OSError as error:
        fail(Exit.HOST_NOT_READY, f"cannot execute {program}: {error.strerror or error}")
