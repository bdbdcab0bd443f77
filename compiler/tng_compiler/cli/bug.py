"""The last resort: an error of ours, said as one."""

from __future__ import annotations

import sys
import traceback

from tng_compiler import __version__
from tng_compiler.cli.exits import Exit


def report(error: Exception) -> int:
    """Say that this is a bug in tng, with what a report needs and without a traceback; return the exit code."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].name}, line {frames[-1].lineno}" if frames else "unknown"
    detail = str(error)[:300]
    print(f"tng: this is a bug in tng {__version__}, not in your configuration", file=sys.stderr)
    print(f"  {type(error).__name__} in {where}: {detail}", file=sys.stderr)
    print("  please report it together with the document, if you can share it", file=sys.stderr)
    return Exit.USAGE
