"""A program that runs beside us, its output in a file, its end and its lines awaited as events."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tng_demo import kernel

# For what comes, on however busy a machine; also for a process that was killed and waits for a disk.
PATIENCE = 60.0


class ProcessError(Exception):
    """A program ended, or stayed silent, before it did what was awaited; the message carries its output."""


@dataclass(frozen=True, slots=True)
class Process:
    """A started program and the file that takes its standard output and error, together."""

    popen: subprocess.Popen[bytes]
    log: Path

    @classmethod
    def start(cls, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Process:
        """Start ``argv``; ``env`` is added to our environment. It survives us unless it is stopped."""
        with log.open("wb") as sink:
            popen = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,
            )
        return cls(popen, log)

    @property
    def pid(self) -> int:
        """The program's own process id."""
        return self.popen.pid

    def all_pids(self) -> list[int]:
        """Those of the program and of all that it started in its session (proc_pid_stat(5), field 6)."""
        found = []
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{name}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2]
                if int(fields.split()[3]) == self.popen.pid:
                    found.append(int(name))
        return found

    def alive(self) -> bool:
        """Whether it still runs."""
        return self.popen.poll() is None

    def output(self) -> str:
        """What it has written up to now."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def wait_for(self, pattern: str, deadline: float = PATIENCE, *, after: int = 0) -> re.Match[str]:
        """Await output that matches the regular expression ``pattern``, from character ``after`` on.

        Raises ``ProcessError`` if the program ends first or ``deadline`` seconds pass.
        """
        end = time.monotonic() + deadline
        with self._events() as events:
            while True:
                ended = not self.alive()
                if found := re.search(pattern, self.output()[after:], re.MULTILINE):
                    return found
                if ended:
                    raise ProcessError(f"ended with {self.popen.returncode} before /{pattern}/:\n{self.output()}")
                if not events.wait(end):
                    raise ProcessError(f"no /{pattern}/ within {deadline} s:\n{self.output()}")

    def wait(self, timeout: float = PATIENCE) -> int:
        """Await its end; the exit status (negative: the signal). Raises ``ProcessError`` after ``timeout``."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessError(f"still runs after {timeout} s:\n{self.output()}") from None

    def stop(self, timeout: float = PATIENCE) -> int:
        """SIGTERM, and SIGKILL after ``timeout`` seconds; the exit status."""
        if self.alive():
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.popen.wait(timeout)
        return self.kill()

    def kill(self) -> int:
        """SIGKILL to it and to all that it started in its session; the exit status. All of them have ended then."""
        with contextlib.ExitStack() as stack:
            ends = []
            for pid in self.all_pids():
                with contextlib.suppress(ProcessLookupError):
                    ends.append(os.pidfd_open(pid))
                    stack.callback(os.close, ends[-1])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, signal.SIGKILL)
            for end in ends:
                # What it had open is closed by then (do_exit in kernel/exit.c).
                select.select([end], [], [], PATIENCE)
        return self.popen.wait()

    @contextlib.contextmanager
    def _events(self) -> Iterator[kernel.Changes]:
        with contextlib.ExitStack() as stack:
            also = []
            # A pidfd becomes readable when the process ends; there is none for one that was waited for (pidfd_open(2)).
            with contextlib.suppress(ProcessLookupError):
                also.append(os.pidfd_open(self.popen.pid))
                stack.callback(os.close, also[0])
            yield stack.enter_context(kernel.changes_of(self.log, *also))
