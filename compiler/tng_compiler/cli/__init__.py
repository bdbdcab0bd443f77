"""The command ``tng``: options to one call of the pipeline, its outcome to texts and an exit code.

0 clean, 1 findings, 2 usage or a bug of ours, 3 the host is not ready, or nothing is there to act on; what
``explain`` answers beside captured, which is 0: 4 passed, 5 refused, 6 depends.
"""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys


def main() -> None:
    """Run the command line; whatever happens, no traceback reaches the user."""
    # One short run makes no garbage worth looking for: collection is a third of the time of 100,000 destinations.
    gc.disable()
    _open_streams()
    try:
        from tng_compiler.cli.app import app

        try:
            app(prog_name="tng")
        finally:
            sys.stdout.flush()  # a full disk is to be noticed while an exit code can still say so
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if sys.argv[1:2] == ["down"]:
            from tng_compiler.cli.runtime import run_down

            run_down(sys.argv[2:])
        # The base package is the runtime's: hosts that only run what was compiled elsewhere do without these.
        print(f"tng: the compiler needs the package {error.name}\n  help: pip install 'tng[compiler]'", file=sys.stderr)
        sys.exit(3)
    except OSError as error:
        # The interpreter flushes once more at its end, and would fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        where = f" {error.filename}" if error.filename else ""
        with contextlib.suppress(OSError):  # it may be standard error that takes nothing
            print(f"tng: cannot write{where}: {error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        from tng_compiler.cli.bug import report

        sys.exit(report(error))


def _open_streams() -> None:
    """Give a program that was started without standard streams (``>&-``) such as swallow everything."""
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - it lives as long as the process
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is sys.__stderr__ and isinstance(sys.stderr, io.TextIOWrapper):
        # What a dead terminal does not take would stay in a buffer, and fail again with whatever is flushed next.
        raw = io.FileIO(sys.stderr.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(raw, sys.stderr.encoding, "backslashreplace", write_through=True)
