"""``rollback``: apply the document again that was there before."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tng_compiler.cli import confirm, history
from tng_compiler.cli.apply import Wish, execute
from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.unit import roll_back
from tng_compiler.host import running
from tng_compiler.host.places import state_directory


def run_rollback(table: str, options: Sequence[str], *, only_print: bool, only_list: bool) -> Exit:
    """Become the runtime of the document before the current one, with the options that it had, and ``options`` more.

    The current one is what runs, or what served last. From there another rollback goes one further back. What a unit
    runs is rolled back by the unit.
    """
    kept = history.records(table)
    if only_list:
        for record in kept:
            print(f"{record.time}  {record.sha256[:12]}  {record.source}")
        return Exit.CLEAN
    run = running.find(table)
    if run is not None and run.record is None and not only_print:
        fail(
            Exit.HOST_NOT_READY,
            f"process {run.pid} runs inet {table}, and was not started by `tng apply`: what was before it is not known",
            "change the document it was compiled from, and let it take over (`systemctl reload` for a unit)",
        )
    current = history.current(table)
    target = history.find(table, current.before) if current else None
    if target is None:
        fail(
            Exit.HOST_NOT_READY,
            f"there is no document of inet {table} before the current one in {state_directory() / table}",
            "`tng rollback --list` shows what is kept",
        )
    if only_print:
        sys.stdout.write(target.document().decode("utf-8", "surrogateescape"))
        return Exit.CLEAN
    if run is not None and current is not None and current.command == history.UNIT:
        if options:
            fail(Exit.USAGE, "options of the runtime are the unit's", "`systemctl edit tng@NAME.service`")
        return roll_back(table, current, target)
    confirm.dismiss(table)
    wish = Wish([*target.run, *options], strict=False, before=target.before, chosen=True, table=table)
    return execute(target.source, target.document(), wish)
