"""The record of an applied document: hidden until the run that it belongs to serves, one of the last five after that.

``tng apply`` makes it, in a directory of root's own, as ``.NAME.PID``; ``run --record`` is told the path that it gets.
For a unit ``tng compile --keep`` makes it, as ``.NAME.prepared``, and it stays until it serves or another one is made.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from tng_runtime import log
from tng_schema import contract


def keep(record: Path | None) -> None:
    """It has served: show it, and remove what is older than the last five. Nothing that fails here ends a run."""
    if record is None:
        return
    hidden = next((path for path in (_hidden(record), _prepared(record)) if path.is_dir()), None)
    if hidden is None:
        return
    try:
        hidden.rename(record)
        kept = sorted(
            (path for path in record.parent.iterdir() if re.fullmatch(contract.RECORD, path.name)),
            key=lambda path: int(path.name.partition("-")[0]),
        )
        for old in kept[: -contract.KEPT_RECORDS]:
            shutil.rmtree(old)
    except OSError as error:
        log.warning("not_recorded", directory=record.parent, reason=error.strerror, meaning="`tng rollback` lacks it")


def discard(record: Path | None) -> None:
    """At the end of a run that never served nothing is left of it."""
    if record is not None:
        shutil.rmtree(_hidden(record), ignore_errors=True)
        for directory in (record.parent, record.parent.parent):
            with contextlib.suppress(OSError):  # others have something there
                directory.rmdir()


def _prepared(record: Path) -> Path:
    return record.with_name(contract.hidden_record(record.name, contract.PREPARED))


def _hidden(record: Path) -> Path:
    return record.with_name(contract.hidden_record(record.name, os.getpid()))
