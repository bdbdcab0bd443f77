"""``--instance NAME``: several instances in one network namespace, each with tables of its own."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.plan.allocate import INSTANCE
from tng_schema import contract

Instance = Annotated[
    str | None, typer.Option("--instance", metavar="NAME", help="One of several here: its tables are tng_NAME.")
]


def table(name: str | None) -> str:
    """The table of an instance; ends the run with 2 if that is no name, or means the guard of another one."""
    if name is None:
        return INSTANCE
    found = f"{INSTANCE}_{name}"
    if not re.fullmatch(contract.TABLE, found) or found.endswith(contract.GUARD_SUFFIX):
        fail(
            Exit.USAGE,
            f"--instance: expected up to 32 of a-z, 0-9 and _, not ending in `guard`, found {name[:40]!r}",
            "such as --instance web",
        )
    return found
