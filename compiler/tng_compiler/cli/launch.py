"""``launch``: ``apply`` as the Rust TNG spells it, for units and programs that start that."""

from __future__ import annotations

from collections.abc import Sequence

from tng_compiler.cli.apply import Wish, execute, run_apply
from tng_compiler.cli.exits import Exit, fail


def run_launch(file: str | None, content: str | None, command: Sequence[str]) -> Exit:
    """Execute the document in ``file``, or ``content`` itself; exactly one of the two is given.

    The log goes to standard error, and a signal ends it with 0.
    """
    if (file is None) == (content is None):
        fail(Exit.USAGE, "launch takes one document", "give either --config-file FILE or --config-content TEXT")
    if file is not None:
        return run_apply(file, Wish(command, strict=False))
    assert content is not None
    return execute("<config-content>", content.encode("utf-8", "surrogateescape"), Wish(command, strict=False))
