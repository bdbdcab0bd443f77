"""What runs on this host now: the documents of the run that holds the lock of this network namespace."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.outputs import CONFIG, MANIFEST
from tng_compiler.host.places import run_directory
from tng_schema import contract


def live_document(table: str, locks: Path | None = None, proc: Path = Path("/proc")) -> bytes:
    """Return the configuration of the run of ``table`` that is alive; there is none: end with "host not ready"."""
    directory = _directory(table, locks or run_directory(), proc)
    try:
        manifest = json.loads((directory / MANIFEST).read_bytes())
        document = (directory / CONFIG).read_bytes()
    except (OSError, ValueError) as error:
        fail(
            Exit.HOST_NOT_READY,
            f"cannot read the documents of the run in {directory}: {error}",
            f"`tng apply` keeps {CONFIG} there; put the configuration beside a manifest that was compiled elsewhere",
        )
    if hashlib.sha256(document).hexdigest() != manifest.get("config_sha256"):
        fail(Exit.HOST_NOT_READY, f"{directory / CONFIG} is not what {MANIFEST} beside it was compiled from")
    return document


def _directory(table: str, locks: Path, proc: Path) -> Path:
    """The lock names the process, and its command line the directory."""
    namespace = (proc / "self/ns/net").stat().st_ino
    lock = locks / contract.lock_name(table, namespace)
    try:
        holder = lock.read_text().strip()
        arguments = (proc / holder / "cmdline").read_bytes().split(b"\0") if holder.isdecimal() else []
        here = (proc / holder / "cwd").resolve() if holder.isdecimal() else Path()
    except OSError as error:
        fail(
            Exit.HOST_NOT_READY,
            f"no run of table inet {table} in this network namespace: {lock}: {error.strerror}",
            "--live needs root, and a runtime that runs",
        )
    named = [here / argument.decode(errors="surrogateescape") for argument in arguments if argument]
    found = [directory for directory in named if (directory / MANIFEST).is_file()]
    if not found:
        fail(
            Exit.HOST_NOT_READY,
            f"process {holder or 'unknown'}, which holds {lock}, names no directory with {MANIFEST}",
        )
    return found[-1]
