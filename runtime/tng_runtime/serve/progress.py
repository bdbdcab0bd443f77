"""What an instance waits for, for whoever sits at the terminal that it writes to; nothing in a pipe or a journal."""

from __future__ import annotations

import os
from collections.abc import Callable

import anyio

from tng_runtime import log

FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
_STANDARD_ERROR = 2


async def tell(what: Callable[[], str], first: float = FIRST_SECONDS) -> None:
    """Say ``what`` is waited for, after a second and then ever more rarely, until cancelled."""
    if not os.isatty(_STANDARD_ERROR):
        return
    pause = first
    while True:
        await anyio.sleep(pause)
        log.last_word(f"tng-runtime: {what()}")
        pause = min(2 * pause, LONGEST_SECONDS)
