"""What tng@NAME.service runs: compiled and recorded for it, and taken back through its own document."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from tng_compiler.cli import history
from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import document
from tng_compiler.cli.outputs import write_directory
from tng_compiler.cli.report import Format, report
from tng_compiler.emit import probes
from tng_compiler.host import running
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan


def run_keep(argument: str, output: str, format_: Format, *, strict: bool, table: str) -> Exit:
    """Compile into ``output`` what the runtime there takes over at SIGHUP, with a record for when it serves."""
    name, data = document(argument, "--keep")
    outcome = compile_bytes(name, data, strict=strict, instance=table)
    report(outcome.found, format_, sys.stderr)
    if outcome.plan is None:
        return Exit.FINDINGS
    told = {"record": str(_record(outcome.plan, name, data)), "probes": probes.render(outcome.plan) or ["none"]}
    write_directory(outcome.plan, Path(output), config=data, orders=json.dumps(told, indent=2).encode() + b"\n")
    return Exit.CLEAN


def _record(plan: Plan, name: str, data: bytes) -> Path:
    """That of what runs if it is the same document, what a rollback has prepared, else a new one."""
    table = plan.instance
    next_one, current = history.prepared(table), history.current(table)
    if next_one is not None and next_one.chosen and next_one.sha256 == plan.config_sha256:
        return next_one.directory
    if current is not None and (current.sha256, current.command) == (plan.config_sha256, history.UNIT):
        return current.directory
    before = current.directory.name if current else None
    return history.prepare(table, name, data, plan.config_sha256, history.UNIT, before)


def roll_back(table: str, current: history.Record, target: history.Record) -> Exit:
    """Put the document of ``target`` where the unit reads it, and let it reload; 3 if it then runs another one."""
    unit = f"tng@{table.partition('_')[2]}.service"
    path, data = Path(current.source), target.document()
    was = _read(path)
    record = history.prepare(table, current.source, data, target.sha256, history.UNIT, target.before, chosen=True)
    if was not in (None, current.document(), data):
        _write(path, path.with_name(f"{path.name}.not-applied"), was or b"")
    _write(path, path, data)
    done = subprocess.run(["systemctl", "reload", unit], capture_output=True, text=True, check=False)
    run = running.find(table)
    if done.returncode == 0 and run is not None and run.record == record.name:
        print(f"{unit} runs the document of {target.time} again, and {path} holds it")
        return Exit.CLEAN
    if was is not None:
        _write(path, path, was)
    history.drop_prepared(table)
    return _taken_back(unit, done.stderr.strip())


def _taken_back(unit: str, said: str) -> NoReturn:
    fail(
        Exit.HOST_NOT_READY,
        f"{unit} did not take the document of before, and its own is as it was" + (f": {said}" if said else ""),
        f"journalctl -u {unit} says why",
    )


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        fail(Exit.HOST_NOT_READY, f"cannot read {path}: {error.strerror or error}")


def _write(like: Path, path: Path, data: bytes) -> None:
    """Write it whole or not at all, with the owner and mode of ``like``."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        if like.exists():
            status = like.stat()
            os.chown(beside, status.st_uid, status.st_gid)
            shutil.copymode(like, beside)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        fail(Exit.HOST_NOT_READY, f"cannot write {path}: {error.strerror or error}")
