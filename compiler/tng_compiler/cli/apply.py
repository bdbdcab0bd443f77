"""``apply``: compile, and become the runtime.

Whatever can fail is done before anything is changed: the document, the runtime, the directories, the record of what is
applied. What was written until then is removed again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tng_compiler.cli import confirm, history, private
from tng_compiler.cli.doctor import preflight
from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import document
from tng_compiler.cli.outputs import write_directory
from tng_compiler.cli.progress import working
from tng_compiler.cli.report import Format, report
from tng_compiler.cli.runtime import UNTIL_IT_RUNS, become, find_runtime
from tng_compiler.emit import probes
from tng_compiler.host.places import run_directory
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.allocate import INSTANCE
from tng_compiler.plan.types import Plan

# Execution keeps the process id, by which the runtime knows its documents and removes them with its end.
STATE_ROOT = run_directory()


@dataclass(frozen=True, slots=True)
class Wish:
    """How a document is to be applied: ``command`` is ``run`` of the runtime with its options.

    ``confirm``: seconds until ``tng confirm``. ``before``: the record to which a rollback returns from here, if it is
    ``chosen``; otherwise that of what was there.
    """

    command: Sequence[str]
    strict: bool
    state_dir: str | None = None
    confirm: int | None = None
    before: str | None = None
    chosen: bool = False
    table: str = INSTANCE


def run_apply(argument: str, wish: Wish) -> Exit:
    """Read a document, and ``execute`` it."""
    name, data = document(argument, "apply")
    return execute(name, data, wish)


def execute(name: str, data: bytes, wish: Wish) -> Exit:
    """Compile into a private directory, and execute the runtime on it; return only when there are faults."""
    with working(f"compiling {name}"):
        outcome = compile_bytes(name, data, strict=wish.strict, instance=wish.table)
    report(outcome.found, Format.TEXT, sys.stderr)
    if outcome.plan is None:
        return Exit.FINDINGS
    table, program = outcome.plan.instance, find_runtime()
    _require_nothing_pending(table)
    with working("looking at this host"):
        host = preflight(outcome.plan, name, data)
    report(host, Format.TEXT, sys.stderr)
    if any(item.is_error for item in host):
        fail(Exit.HOST_NOT_READY, "the host is not ready; nothing was changed", "`tng doctor` looks again")
    was = confirm.before(table) if wish.confirm is not None else None
    signal.pthread_sigmask(signal.SIG_BLOCK, UNTIL_IT_RUNS)
    with working("writing the rules"):
        directory = compile_into(outcome.plan, data, wish.state_dir)
    try:
        record = _record(outcome.plan, name, data, wish)
        if was is not None and wish.confirm is not None:
            confirm.watch(table, record, was, wish.confirm, partial(_again, table))
    except SystemExit:
        if wish.state_dir is None:
            _remove(directory)
        raise
    return become(program, [*wish.command, *arguments(outcome.plan, record), str(directory)])


def arguments(plan: Plan, record: Path) -> list[str]:
    """What a run is told beside its options: the place of its record, and what it tries once its rules are there."""
    return [f"--record={record}", *(f"--probe={probe}" for probe in probes.render(plan) or ("none",))]


def compile_into(plan: Plan, data: bytes, state_dir: str | None) -> Path:
    """Write what the runtime executes into a private directory; ends the run with 3 and leaves nothing otherwise."""
    directory = Path(state_dir) if state_dir else STATE_ROOT / f"{plan.instance}.{os.getpid()}"
    was_there = directory.exists()
    private.make(directory, "apply needs root, but for doors alone; --state-dir names another directory")
    try:
        write_directory(plan, directory, Exit.HOST_NOT_READY, config=data)
    except SystemExit:
        if not was_there:
            _remove(directory)
        raise
    return directory


def _require_nothing_pending(table: str) -> None:
    if sock := confirm.pending(table):
        sock.close()
        fail(
            Exit.HOST_NOT_READY,
            f"what was applied last to inet {table} waits to be confirmed",
            "`tng confirm` keeps it, `tng rollback` takes it back",
        )


def _record(plan: Plan, name: str, data: bytes, wish: Wish) -> Path:
    """The place of the record: that of what is there if it is the same, else a new one."""
    table = plan.instance
    current = history.current(table)
    same = current is not None and (current.sha256, current.command) == (plan.config_sha256, tuple(wish.command))
    if current is not None and same and not wish.chosen:
        return current.directory
    before = current.directory.name if current and not wish.chosen else wish.before
    return history.prepare(table, name, data, plan.config_sha256, wish.command, before)


def _again(table: str, was: confirm.Before) -> list[str]:
    """The command that brings back what served, or refused, from its record."""
    record = was.record
    assert record is not None
    outcome = compile_bytes(record.source, record.document(), instance=table)
    if outcome.plan is None:
        report(outcome.found, Format.TEXT, sys.stderr)
        fail(Exit.HOST_NOT_READY, f"{record.directory}: the document of before is refused by now", "mend and apply it")
    directory = compile_into(outcome.plan, record.document(), None)
    if was.state == "closed":
        return ["guard", str(directory)]
    return [*record.run, *arguments(outcome.plan, record.directory), str(directory)]


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    if directory.parent == STATE_ROOT:
        try:
            directory.parent.rmdir()
        except OSError:  # others have something there
            return
