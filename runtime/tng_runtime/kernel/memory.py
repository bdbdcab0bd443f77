"""Memory that was needed once, given back to the kernel."""

from __future__ import annotations

import ctypes
import gc


def give_back() -> None:
    """Return what is free (malloc_trim(3), of glibc): of large rules hundreds of MiB are read, and not kept."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))
