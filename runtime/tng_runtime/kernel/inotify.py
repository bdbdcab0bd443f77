"""Changes of directories, by inotify(7) through the C library: Python has no binding of its own."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

# linux/inotify.h
_IN_MOVED_FROM, _IN_MOVED_TO, _IN_CREATE, _IN_DELETE = 0x40, 0x80, 0x100, 0x200
_IN_ONLYDIR, _IN_DONT_FOLLOW = 0x1000000, 0x2000000
_MASK = _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE | _IN_ONLYDIR | _IN_DONT_FOLLOW
_READ_BYTES = 1 << 16


class Directories:
    """Says that something was made in, removed from or moved in one of the directories; not what or where.

    A queue that overflowed is readable like any other, so whoever looks at everything afterwards misses nothing. The
    kernel drops the watch of a directory that is removed. Raises ``OSError``.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = _checked(self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))

    def fileno(self) -> int:
        """The descriptor; readable when there is a change that ``drain`` has not taken."""
        return self._descriptor

    def watch(self, directory: Path) -> None:
        """Watch ``directory``, however often it is asked for."""
        _checked(self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _MASK))

    def drain(self) -> None:
        """Forget the changes so far."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._descriptor, _READ_BYTES):
                pass

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
