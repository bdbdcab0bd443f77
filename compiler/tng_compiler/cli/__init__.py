"""The command ``tng``: options to one call of the pipeline, its outcome to texts and an exit code.

0 clean, 1 findings, 2 usage or a bug of ours, 3 the host is not ready (``apply`` only).
"""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the command line; whatever happens, no traceback reaches the user."""
    # One short run makes no garbage worth looking for: collection is a third of the time of 100,000 destinations.
    gc.disable()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        from tng_compiler.cli.app import app

        app(prog_name="tng")
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from tng_compiler.cli.bug import report

        sys.exit(report(error))
