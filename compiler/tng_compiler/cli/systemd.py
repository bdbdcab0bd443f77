"""``systemd``: the units that the package installs, and what the unit of a captured cgroup should say."""

from __future__ import annotations

import re
import sys
from importlib.resources import files
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import document
from tng_compiler.cli.report import Format, report
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan

UNITS = ("tng-guard@.service", "tng@.service")
_DIRECTORY = "/etc/systemd/system"


def run_systemd(argument: str | None, output: str | None) -> Exit:
    """Print the units as ``systemctl cat`` does, or write them into ``output``; for a document also its drop-ins."""
    written = {name: files("tng_compiler.cli").joinpath("units", name).read_text("utf-8") for name in UNITS}
    if argument is not None:
        name, data = document(argument, "systemd")
        outcome = compile_bytes(name, data)
        report(outcome.found, Format.TEXT, sys.stderr)
        if outcome.plan is None:
            return Exit.FINDINGS
        instance = "NAME" if argument == "-" else Path(argument).stem
        written |= drop_ins(outcome.plan, instance)
    if output is None:
        print("\n".join(f"# {_DIRECTORY}/{name}\n{text}" for name, text in written.items()), end="")
        return Exit.CLEAN
    try:
        for name, text in written.items():
            path = Path(output) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
    except OSError as error:
        fail(Exit.USAGE, f"cannot write to {output}: {error.strerror or error}")
    return Exit.CLEAN


def drop_ins(plan: Plan, instance: str) -> dict[str, str]:
    """By file name: what makes a unit whose cgroup ``plan`` names start after ``instance`` has begun to serve.

    One that starts earlier is safe, and refused. A cgroup that is not a unit's gets none.
    """
    paths = {path for entry in plan.entries for level in entry.inside for path in level.paths}
    found = {}
    for path in sorted(paths):
        unit = path.rsplit("/", 1)[-1]
        if re.fullmatch(r".+[.](service|scope|slice)", unit):
            text = f"# What this unit sends to captured destinations is refused until tng@{instance}.service serves.\n"
            found[f"{unit}.d/tng.conf"] = f"{text}[Unit]\nWants=tng@{instance}.service\nAfter=tng@{instance}.service\n"
    return found
