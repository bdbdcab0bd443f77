"""The documents that were applied: the last five of each instance, with time, digest and options.

``/var/lib/tng/TABLE/NNNN-TIME-DIGEST`` holds ``document.json``, byte for byte, and ``applied.json``. ``apply`` makes it
hidden (``.NNNN-...``), before anything is changed; the runtime renames it once it serves, and removes the oldest. That
of a unit's document is made by ``compile --keep``. So what is listed has served, and a name says in which order,
whatever the clock did. The command line of a run names its record: that is how a running instance tells what it was
started from.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from tng_compiler.cli import private
from tng_compiler.cli.exits import Exit, fail
from tng_compiler.host import running
from tng_compiler.host.places import state_directory
from tng_schema import contract

_NAME = re.compile(contract.RECORD)
UNIT = ("unit",)
"""In place of a command: the document is run by tng@NAME.service, with the options of that."""


@dataclass(frozen=True, slots=True)
class Record:
    """``source`` is the name under which the document was read; ``command`` is ``run`` with its options.

    ``before`` names the record to which ``tng rollback`` returns from this one; ``chosen``: a rollback made it.
    """

    directory: Path
    time: str
    sha256: str
    source: str
    command: tuple[str, ...]
    before: str | None
    chosen: bool = False

    @property
    def number(self) -> int:
        """Higher than that of each record before it."""
        return number_of(self.directory)

    @property
    def run(self) -> tuple[str, ...]:
        """The command of the runtime that runs it again, outside of a unit."""
        return ("run",) if self.command == UNIT else self.command

    def document(self) -> bytes:
        """The document; ends the run with 3 if it cannot be read."""
        try:
            return (self.directory / "document.json").read_bytes()
        except OSError as error:
            fail(Exit.HOST_NOT_READY, f"cannot read {self.directory}: {error.strerror or error}")


def number_of(directory: Path) -> int:
    """By its name, hidden or not."""
    return int(directory.name.lstrip(".").partition("-")[0])


def records(table: str) -> list[Record]:
    """Those of an instance, the oldest first; what is no record of ours is passed over."""
    directory = state_directory() / table
    found = [path for path in _entries(directory) if _NAME.fullmatch(path.name)]
    return [record for path in sorted(found, key=number_of) if (record := read(path)) is not None]


def find(table: str, name: str | None) -> Record | None:
    """The record of that name, if it is still kept."""
    return next((record for record in records(table) if record.directory.name == name), None)


def current(table: str) -> Record | None:
    """The record of what runs, or of what served last."""
    run, kept = running.find(table), records(table)
    return (find(table, run.record) if run else None) or (kept[-1] if kept else None)


def read(directory: Path) -> Record | None:
    """One record, hidden or not; None if there is none."""
    try:
        found = json.loads((directory / "applied.json").read_text("utf-8"))
        return Record(
            directory,
            found["time"],
            found["sha256"],
            found["source"],
            tuple(found["command"]),
            found["before"],
            found.get("chosen", False) is True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def prepared(table: str) -> Record | None:
    """The hidden record of a unit's next document, by the path that it gets when it serves."""
    hidden = next((path for path in _entries(state_directory() / table) if _is_prepared(path)), None)
    found = read(hidden) if hidden else None
    return found and replace(found, directory=found.directory.with_name(found.directory.stem.lstrip(".")))


def prepare(
    table: str,
    source: str,
    document: bytes,
    sha256: str,
    command: Sequence[str],
    before: str | None,
    *,
    chosen: bool = False,
) -> Path:
    """Make a hidden record, and return the path that it gets when it serves. Ends the run with 3 if it cannot be."""
    directory = state_directory() / table
    private.make(directory, "apply keeps the last documents there; STATE_DIRECTORY in the environment names another")
    _remove_stale(directory)
    now = datetime.now(UTC)
    number = max((number_of(path) for path in _entries(directory) if _NAME.fullmatch(path.name)), default=0) + 1
    name = f"{number:04d}-{now:%Y%m%dT%H%M%SZ}-{sha256[:12]}"
    for_unit = tuple(command) == UNIT
    hidden = directory / contract.hidden_record(name, contract.PREPARED) if for_unit else _hidden(directory / name)
    words = {
        "time": f"{now:%Y-%m-%dT%H:%M:%SZ}",
        "sha256": sha256,
        "source": source,
        "command": list(command),
        "before": before,
        "chosen": chosen,
    }
    if for_unit:
        drop_prepared(table)
    try:
        hidden.mkdir(mode=0o700)
        _write(hidden / "document.json", document)
        _write(hidden / "applied.json", json.dumps(words, indent=2).encode() + b"\n")
    except OSError as error:
        shutil.rmtree(hidden, ignore_errors=True)
        fail(
            Exit.HOST_NOT_READY,
            f"cannot keep the document in {directory}: {error.strerror or error}",
            "make room there; nothing was changed",
        )
    return directory / name


def drop_prepared(table: str) -> None:
    """Remove what a unit was to run next."""
    for path in _entries(state_directory() / table):
        if _is_prepared(path):
            shutil.rmtree(path, ignore_errors=True)


def discard(record: Path) -> None:
    """Remove a hidden record of this process again."""
    shutil.rmtree(_hidden(record), ignore_errors=True)


def _is_prepared(path: Path) -> bool:
    return path.name.startswith(".") and path.suffix == f".{contract.PREPARED}"


def _hidden(record: Path) -> Path:
    return record.with_name(contract.hidden_record(record.name, os.getpid()))


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _remove_stale(directory: Path) -> None:
    """Remove the hidden ones of processes that are gone."""
    for path in _entries(directory):
        owner = path.name.rpartition(".")[2]
        if path.name.startswith(".") and owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(path, ignore_errors=True)


def _entries(directory: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(directory.iterdir())
    return []
