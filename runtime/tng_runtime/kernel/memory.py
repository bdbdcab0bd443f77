"""Memory that was needed for a moment, given back to the kernel.

libnftables takes 1.2 KiB for each element of a ruleset that it loads, and frees them one by one. glibc keeps what was
freed for whoever asks next (mallopt(3), M_TRIM_THRESHOLD looks at the end of the heap alone), for ever in a process
that goes on with little.

It also takes the size of the largest piece that was freed for what "large" means from then on (M_MMAP_THRESHOLD), and
what is not large comes from the pages of what was freed: after the text of many rules, each worker's relay buffers.

What a start runs through once, imports and the first handshake above all, leaves 20 MiB of files mapped, most of which
is not looked at for days. They stay in the kernel's cache of files, and are mapped again by whoever needs them.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterable, Iterator
from pathlib import Path

_MAPS = Path("/proc/self/smaps")
_MADV_DONTNEED = 4
# malloc.h; the size is its default (mallopt(3)).
_M_MMAP_THRESHOLD, _LARGE = -3, 128 << 10


def keep_large_apart() -> None:
    """Map large pieces by themselves, and give them back when they are freed, whatever was freed before."""
    with contextlib.suppress(AttributeError):
        _LIBC.mallopt(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """Return the pages that nothing uses (malloc_trim(3)); a C library without it keeps them."""
    with contextlib.suppress(AttributeError):
        _LIBC.malloc_trim(0)


def unmap_files() -> None:
    """Let go of the pages of programs and libraries that are as they are in their files, if the kernel tells which."""
    with contextlib.suppress(OSError), _MAPS.open("rb") as maps:
        for begin, end in _unchanged(maps):
            _LIBC.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), _MADV_DONTNEED)


def _unchanged(maps: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Begin and end of what maps a file, cannot be written to, and has no page of its own.

    What was written to before it was protected (RELRO, a debugger's breakpoints) would be lost (madvise(2)).
    """
    begin = end = 0
    for line in maps:
        first, *words = line.split(maxsplit=5)
        if first == b"Anonymous:" and words[0] == b"0" and end:
            yield begin, end
        elif not first.endswith(b":"):
            rights, inode = words[0], words[3]
            begin, end = (int(each, 16) for each in first.split(b"-"))
            if inode == b"0" or rights not in (b"r-xp", b"r--p"):
                end = 0


_LIBC = ctypes.CDLL(None)
