"""Directories that nobody else can write to: what lies in them is executed with our privileges."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail


def make(directory: Path, advice: str) -> None:
    """Make ``directory``, mode 0700; ends the run with 3, and ``advice``, where that cannot be, or others can write."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
    except OSError as error:
        full = f"make room there: `df -h {directory.parent}`, `df -i {directory.parent}`"
        advice = full if error.errno in (errno.ENOSPC, errno.EDQUOT) else advice
        fail(Exit.HOST_NOT_READY, f"cannot make {directory}: {error.strerror or error}", advice)
    theirs = None if stat.S_ISDIR(status.st_mode) else directory
    # The runtime looks once more before it executes anything; here it is where we are going to write.
    way = directory.resolve()
    theirs = theirs or next((path for path in (way, *way.parents) if _others_write(path, final=path == way)), None)
    if theirs is not None:
        fail(
            Exit.HOST_NOT_READY,
            f"{directory} is not ours alone to write to: {theirs}",
            f"chown it to {'root' if os.geteuid() == 0 else 'yourself'} and chmod go-w it, or name another: {theirs}",
        )


def _others_write(path: Path, *, final: bool) -> bool:
    status = path.lstat()
    sticky = status.st_mode & stat.S_ISVTX and status.st_uid == 0 and not final
    return status.st_uid not in (0, os.geteuid()) or bool(status.st_mode & 0o022 and not sticky)
