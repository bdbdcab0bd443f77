"""The service manager's watchdog (sd_notify(3)): fed while judge and workers answer, and not while one stands still."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from tng_runtime import log
from tng_runtime.kernel import manager

# Of the manager's time: so long is waited for answers, and so long before the next question. One that is answered
# late, but in time, is told within half of the manager's time.
PART = 1 / 4


async def beat(silent: Callable[[float], Awaitable[list[str]]], seconds: float, serving: str) -> None:
    """Tell the manager so often that it never waits for ``seconds``; ``serving`` is the STATUS when all is well.

    ``silent``: who of the processes did not answer within the seconds that it is given.
    """
    before: list[str] = []
    while True:
        now = await silent(seconds * PART)
        if not now:
            manager.notify("WATCHDOG=1")
        if now != before:
            _tell(now, serving)
            before = now
        await anyio.sleep(seconds * PART)


def _tell(silent: list[str], serving: str) -> None:
    if not silent:
        log.info("all_answer")
        manager.notify(f"STATUS={serving}")
        return
    who = ", ".join(silent)
    log.error("no_answer", processes=who, meaning="the service manager's watchdog is not fed")
    manager.notify(f"STATUS={serving}; no answer from: {who}")
