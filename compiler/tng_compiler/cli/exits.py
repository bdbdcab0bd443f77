"""Exit codes, and the error that carries one out of a command."""

from __future__ import annotations

import sys
from enum import IntEnum
from typing import NoReturn

from tng_compiler.diagnostics.quoting import visible


class Exit(IntEnum):
    """A stable part of the interface: scripts and CI branch on it."""

    CLEAN = 0
    FINDINGS = 1
    USAGE = 2
    HOST_NOT_READY = 3
    # What `explain` answers; a captured flow is 0.
    PASSED = 4
    REFUSED = 5
    DEPENDS = 6


def fail(code: Exit, message: str, help_: str | None = None) -> NoReturn:
    """Say why on standard error, and end."""
    print(f"tng: {visible(message, 2000)}", file=sys.stderr)
    if help_:
        print(f"  help: {help_}", file=sys.stderr)
    sys.exit(code)
