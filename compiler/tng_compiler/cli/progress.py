"""What is being done, for whoever waits at a terminal: one line that is drawn again each second and leaves nothing.

In a pipe, in CI and in a log there is nothing of it.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TextIO

AFTER_SECONDS = 1.0
"""What ends sooner needs no line."""

_ERASE = "\r\x1b[K"


@contextlib.contextmanager
def working(what: str, stream: TextIO | None = None, after: float = AFTER_SECONDS) -> Iterator[None]:
    """Show ``what`` and for how long already on ``stream`` (standard error), if it is a terminal, from ``after`` on."""
    stream = stream or sys.stderr
    if not stream.isatty():
        yield
        return
    done = threading.Event()
    shown = threading.Thread(target=_show, args=(what, stream, after, done), daemon=True)
    shown.start()
    try:
        yield
    finally:
        done.set()
        shown.join()


def _show(what: str, stream: TextIO, after: float, done: threading.Event) -> None:
    began = time.monotonic()
    if done.wait(after):
        return
    with contextlib.suppress(OSError, ValueError):  # a terminal may go
        while True:
            stream.write(f"{_ERASE}tng: {what}: {time.monotonic() - began:.0f} s")
            stream.flush()
            if done.wait(1.0):
                break
        stream.write(_ERASE)
        stream.flush()
