"""Memory that was needed for a moment, given back to the kernel.

libnftables takes 1.2 KiB for each element of a ruleset that it loads, and frees them one by one. glibc keeps what was
freed for whoever asks next (mallopt(3), M_TRIM_THRESHOLD looks at the end of the heap alone), for ever in a process
that goes on with little.
"""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Return the pages that nothing uses (malloc_trim(3)); a C library without it keeps them."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
