"""Plan to texts, and texts to files that are whole or not there.

Each file is written beside its place and renamed over it (rename(2) is atomic). Between the renames a reader may
see files of two runs; the manifest holds the digests of its rules, so the runtime refuses such a set.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.plan.types import Plan
from tng_schema import contract

RULESET, GUARD, MANIFEST = contract.RULESET, contract.GUARD, contract.MANIFEST
CONFIG = "config.json"
"""Kept by ``apply`` with what it compiled, for ``diff --live``."""


def texts(plan: Plan, emit: str) -> str:
    """Render one output; the renderers are imported by need."""
    match emit:
        case "nft":
            from tng_compiler.emit.nft import render as nft

            return nft(plan)
        case "guard":
            from tng_compiler.emit.nft import render_guard

            return render_guard(plan)
        case "manifest":
            return documents(plan)[MANIFEST]
        case "plan":
            from tng_compiler.emit.plan_text import render as plan_text

            return plan_text(plan)
        case "iptables":
            from tng_compiler.emit.iptables import render as iptables

            return iptables(plan)
        case "svg":
            from tng_compiler.emit.svg import render as svg

            return svg(plan)
        case _:
            from tng_compiler.emit.diagram import render as diagram

            return diagram(plan)


def documents(plan: Plan) -> dict[str, str]:
    """Return what the runtime executes, text by file name; the manifest, which names the others, comes last."""
    from tng_compiler.emit.manifest import render as manifest
    from tng_compiler.emit.nft import render as nft
    from tng_compiler.emit.nft import render_guard

    ruleset, guard = nft(plan), render_guard(plan)
    return {RULESET: ruleset, GUARD: guard, MANIFEST: manifest(plan, ruleset, guard)}


def write_directory(
    plan: Plan, directory: Path, code: Exit = Exit.USAGE, *, config: bytes | None = None, orders: bytes | None = None
) -> None:
    """Write all files; an error of the file system ends the run with ``code`` and leaves no part of one behind.

    ``config`` is the document as it was read, to be kept with them; ``orders`` tells the runtime how to run them.
    """
    written = {name: text.encode() for name, text in documents(plan).items()}
    if orders is not None:
        written = {contract.ORDERS: orders, **written}
    if config is not None:
        written = {CONFIG: config, **written}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if orders is None:
            (directory / contract.ORDERS).unlink(missing_ok=True)
        for name, data in written.items():
            _replace(directory / name, data)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fail(code, f"cannot write to {directory}: {error.strerror or error}", "make room there" if full else None)


def _replace(path: Path, data: bytes) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
