"""SIGHUP: this program once more, with the same arguments. It reads the directory anew, and takes over."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence

import anyio

from tng_runtime import log
from tng_runtime.kernel import manager


class Hangups:
    """One successor is started at a time; what was asked for meanwhile is asked of it once it serves.

    ``again`` is its command line.
    """

    def __init__(self, again: Sequence[str]) -> None:
        self._again = again
        self._asked = anyio.Event()
        self._heir: subprocess.Popen[bytes] | None = None
        self._handed_over = False

    def ask(self) -> None:
        """A signal came."""
        self._asked.set()
        if self._handed_over:
            self._pass_on()

    def handed_over(self) -> None:
        """Another instance serves by now: whatever was not begun, and what comes, is for that one."""
        self._handed_over = True
        if self._asked.is_set():
            self._pass_on()

    async def run(self) -> None:
        """Start a successor for each signal, as long as this instance is the one that serves."""
        while True:
            await self._asked.wait()
            if self._handed_over:
                return
            self._asked = anyio.Event()
            await self._start()

    def _pass_on(self) -> None:
        if self._heir is None or self._heir.poll() is not None:
            log.info("not_reloading", meaning="another instance serves: ask that one")
        else:
            self._heir.send_signal(signal.SIGHUP)

    async def _start(self) -> None:
        log.info("reloading")
        manager.reloading()
        try:
            # One that belongs to the event loop would be killed with it.
            self._heir = subprocess.Popen(  # noqa: ASYNC220 - it only starts here
                self._again, stdin=subprocess.DEVNULL, env=manager.environment_of_heir()
            )
            pidfd = os.pidfd_open(self._heir.pid)
        except OSError as error:
            self._failed(reason=error.strerror)
            return
        try:
            await anyio.wait_readable(pidfd)
        finally:
            os.close(pidfd)
        status, self._heir = self._heir.wait(), None
        if not self._handed_over:  # else it has served, and its end is its own business
            self._failed(exit_status=status)

    def _failed(self, **why: object) -> None:
        log.error("reload_failed", meaning="this instance goes on", **why)
        manager.notify("READY=1", "STATUS=serving; the last reload failed")
