"""Plan to texts, and texts to files that are whole or not there.

Each file is written beside its place and renamed over it (rename(2) is atomic). Between the two renames a reader may
see files of two runs; the manifest holds the digest of its ruleset, so the runtime refuses that pair.
"""

from __future__ import annotations

import os
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.plan.types import Plan

RULESET, MANIFEST = "ruleset.nft", "manifest.json"


def texts(plan: Plan, emit: str) -> str:
    """Render one output; the renderers are imported by need."""
    match emit:
        case "nft":
            from tng_compiler.emit.nft import render as nft

            return nft(plan)
        case "manifest":
            return pair(plan)[1]
        case "plan":
            from tng_compiler.emit.plan_text import render as plan_text

            return plan_text(plan)
        case "iptables":
            from tng_compiler.emit.iptables import render as iptables

            return iptables(plan)
        case _:
            from tng_compiler.emit.diagram import render as diagram

            return diagram(plan)


def pair(plan: Plan) -> tuple[str, str]:
    """Return the ruleset and the manifest that belongs to it."""
    from tng_compiler.emit.manifest import render as manifest
    from tng_compiler.emit.nft import render as nft

    ruleset = nft(plan)
    return ruleset, manifest(plan, ruleset)


def write_directory(plan: Plan, directory: Path) -> None:
    """Write both files; an error of the file system ends the run with the usage code and leaves no part behind."""
    ruleset, manifest = pair(plan)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        _replace(directory / RULESET, ruleset)
        _replace(directory / MANIFEST, manifest)
    except OSError as error:
        fail(Exit.USAGE, f"cannot write to {directory}: {error.strerror or error}")


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
