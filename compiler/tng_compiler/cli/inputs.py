"""Arguments to documents: files, directories of ``*.json``, and ``-`` for standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.source.text import MAX_BYTES

STDIN = "-"


def documents(arguments: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Yield ``(name, bytes)``, those of a directory sorted by name.

    Never more than one byte above the size limit is read, so that ``/dev/zero`` ends too. What cannot be read ends the
    run with the usage code.
    """
    for argument in arguments:
        if argument == STDIN:
            yield "<stdin>", _bounded(sys.stdin.buffer)
            continue
        path = Path(argument)
        if path.is_dir():
            members = sorted(member for member in path.iterdir() if member.suffix == ".json")
            if not members:
                fail(Exit.USAGE, f"no *.json in the directory {argument}")
            yield from ((str(member), _file(member)) for member in members)
        else:
            yield argument, _file(path)


def document(argument: str, taker: str) -> tuple[str, bytes]:
    """The one that ``taker`` takes, as ``(name, bytes)``; ends the run with the usage code for a directory."""
    if Path(argument).is_dir():
        fail(Exit.USAGE, f"{argument} is a directory", f"{taker} takes one document")
    return next(documents([argument]))


def _file(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return _bounded(stream)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        fail(Exit.USAGE, f"cannot read {path}: {reason}")


def _bounded(stream: BinaryIO) -> bytes:
    return stream.read(MAX_BYTES + 1)
