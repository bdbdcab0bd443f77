"""The runtime, found and executed: a program of its own that is never imported. Needs nothing but the standard library,
so that ``tng down`` works where the compiler's packages are missing."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tng_compiler.cli.exits import Exit, fail

RUNTIME = "tng-runtime"
UNTIL_IT_RUNS = {signal.SIGHUP, signal.SIGINT, signal.SIGTERM}
"""What waits for the runtime, which removes what was written for it. What is blocked stays so (execve(2))."""


def find_runtime() -> Path:
    """Return the runtime that was installed together with this program, else the one on PATH; ends the run with 3."""
    found = look_for_runtime()
    if found is None:
        fail(
            Exit.HOST_NOT_READY,
            f"{RUNTIME} was not found beside this program, nor on PATH",
            "the base package `tng` brings it; the extra `compiler` alone does not",
        )
    return found


def look_for_runtime() -> Path | None:
    """As ``find_runtime``, or None."""
    for neighbour in (sys.argv[0], sys.executable):
        beside = Path(neighbour).parent / RUNTIME
        if os.sep in neighbour and os.access(beside, os.X_OK):
            return beside.absolute()
    found = shutil.which(RUNTIME)
    return Path(found) if found else None


def become(program: Path, arguments: Sequence[str]) -> NoReturn:
    """Execute ``program`` in place of this process, which keeps its id."""
    sys.stdout.flush()
    sys.stderr.flush()
    if "run" in arguments:
        signal.pthread_sigmask(signal.SIG_BLOCK, UNTIL_IT_RUNS)
    try:
        os.execv(program, [RUNTIME, *arguments])  # noqa: S606 - no shell is the point
    except OSError as error:
        fail(Exit.HOST_NOT_READY, f"cannot execute {program}: {error.strerror or error}")


def run_down(arguments: Sequence[str]) -> NoReturn:
    """Execute ``tng-runtime down``."""
    become(find_runtime(), ["down", *arguments])
