"""Where log lines leave: standard error, by whoever logs, or by a thread when nobody may wait for its reader.

A pipe whose reader stalls takes 64 KiB and then stops who writes to it. Making it non-blocking is no way out: that is a
property of the open file, which whoever started us, and others, may share. So a process that serves hands its lines
to a thread that waits in their place. What is held for it is bounded; what does not fit is dropped, counted, and told
of when there is room again. So is what a full disk did not take: by a line that comes first, as the room may be for no
more than that, and that is tried again while nothing else is to be written.

The thread is woken for the first line after a pause only, and takes what has gathered then. One wake-up for each line
makes two threads of a busy process pass the interpreter's lock to and fro: eight futex calls for each connection.

A thread does not survive fork(2). A child begins as a process that writes itself, and holds nothing of its parent's.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

# Characters held for a reader that is late: some thousand lines.
MAX_HELD = 1 << 20
CLOSE_SECONDS = 3.0
# In which lines gather after some were written.
GATHER_SECONDS = 0.02
# After which a full disk is asked again.
RETRY_SECONDS = 1.0


class Outlet:
    """Standard error. ``told`` makes the line that says how many were dropped."""

    def __init__(self, told: Callable[[int], str], *, limit: int = MAX_HELD) -> None:
        self._told = told
        self._limit = limit
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._held: deque[str] = deque()
        self._size = self._dropped = self._untaken = 0
        self.lost = 0
        """Lines dropped since the process began."""
        self._writer: threading.Thread | None = None
        self._ends = threading.Event()
        self._stuck = self._idle = False
        self._before = self._after = 0
        """Lost lines of which the first and the last line of the text that is being written tell."""

    def write(self, text: str) -> None:
        """Write ``text``, which ends its last line; a reader that went away is no reason to fail."""
        if self._writer is None:
            if not self._stuck:
                with contextlib.suppress(OSError, ValueError):
                    sys.stderr.write(text)
                    sys.stderr.flush()
            return
        with self._changed:
            if self._size + len(text) > self._limit:
                self._dropped += 1
                self.lost += 1
                return
            self._held.append(text)
            self._size += len(text)
            if self._idle:
                self._idle = False
                self._changed.notify()

    def hand_over(self, descriptor: int = 2) -> None:
        """From now on a thread of this process writes, to ``descriptor``; nobody waits for it until ``close``."""
        if self._writer is None:
            self._ends.clear()
            self._writer = threading.Thread(target=self._write_on, args=(descriptor,), name="log", daemon=True)
            self._writer.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Give the thread so long to write what is held; from then on whoever logs writes again.

        When the reader still stalls then, nothing more is written at all: the process is about to end.
        """
        writer = self._writer
        if writer is None:
            return
        end = time.monotonic() + seconds
        with self._changed:
            self._ends.set()
            self._changed.notify()
        writer.join(max(0.0, end - time.monotonic()))
        self._stuck = writer.is_alive()
        self._writer = None

    def _write_on(self, descriptor: int) -> None:
        while text := self._next():
            data = memoryview(text.encode("utf-8", "backslashreplace"))
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
            except OSError:  # nobody reads any more, or the disk is full
                self._not_taken(text, bytes(data))
                if self._ends.is_set():
                    return
            self._ends.wait(GATHER_SECONDS)

    def _next(self) -> str:
        """All that is held, awaited; nothing at the end. What was not taken came before it, what was dropped after."""
        with self._changed:
            while not self._held and not self._dropped and not self._ends.is_set():
                self._idle = True
                if not self._changed.wait(RETRY_SECONDS if self._untaken else None):
                    break
            self._idle = False
            self._before, self._after = self._untaken, self._dropped
            lines = [self._told(self._before)] if self._before else []
            lines += self._held
            if self._after:
                lines.append(self._told(self._after))
            self._held.clear()
            # What the thread writes now is still held in memory, but not more than once the limit.
            self._size = self._dropped = self._untaken = 0
            return "".join(lines)

    def _not_taken(self, text: str, rest: bytes) -> None:
        """Tell of the lines in ``rest`` of ``text`` with the next line, and of those of which they told."""
        told = rest.count(b"\n") < text.count("\n")
        before = 0 if told else self._before
        fresh = rest.count(b"\n") - bool(before) - bool(self._after)
        with self._changed:
            self.lost += fresh
            self._untaken = before + fresh + self._after
