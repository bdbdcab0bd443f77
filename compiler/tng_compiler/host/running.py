"""The run of an instance in this network namespace, as its lock and its command line tell of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tng_compiler.host.places import run_directory
from tng_schema import contract


@dataclass(frozen=True, slots=True)
class Running:
    """``record`` names the record of its document (``history``); None if it was not started by ``tng apply``."""

    pid: int
    record: str | None


def namespace() -> int:
    """The inode number of our network namespace, by which instances of several are told apart."""
    return Path("/proc/self/ns/net").stat().st_ino


def source(pid: int) -> str | None:
    """Of what the run was made: the name of the document that was applied, or the directory that it was given.

    None if it cannot be told: of a process that is gone, or another user's.
    """
    try:
        words = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
        record = next((word.partition("=")[2] for word in words if word.startswith("--record=")), None)
        if record is not None:
            named: str = json.loads(Path(record, "applied.json").read_text("utf-8"))["source"]
            return named
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return words[-1] if "run" in words else None


def find(table: str) -> Running | None:
    """Who runs ``table`` here, or starts to; None if nobody does."""
    try:
        lock = run_directory() / contract.lock_name(table, namespace())
        pid = int(lock.read_text("ascii"))
        words = Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace").split("\0")
    except (OSError, ValueError):
        return None
    if "run" not in words:
        return None
    record = next((word.partition("=")[2] for word in words if word.startswith("--record=")), None)
    return Running(pid, Path(record).name if record else None)
