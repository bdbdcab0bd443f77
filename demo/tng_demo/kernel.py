"""What Python 3.11 does not offer of the kernel: setns(2) and inotify(7), through the C library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_IN_MODIFY = 0x2  # linux/inotify.h

_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def network_of(namespace: Path) -> Iterator[None]:
    """Move the calling thread, and no other, into a network namespace, given as its file, and back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _check(_libc.setns(there, _CLONE_NEWNET), namespace)
        finally:
            os.close(there)
        try:
            yield
        finally:
            _check(_libc.setns(home, _CLONE_NEWNET), namespace)
    finally:
        os.close(home)


@contextlib.contextmanager
def changes_of(path: Path, *also: int) -> Iterator[Changes]:
    """Watch a file for writes; descriptors in ``also`` end a wait when they become readable."""
    watch = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
    _check(watch, path)
    try:
        _check(_libc.inotify_add_watch(watch, os.fsencode(path), _IN_MODIFY), path)
        yield Changes(watch, also)
    finally:
        os.close(watch)


class Changes:
    """A watch; ``wait`` returns at the next write since the last ``wait``."""

    def __init__(self, watch: int, also: tuple[int, ...]) -> None:
        self._watch = watch
        self._poll = select.poll()
        for descriptor in (watch, *also):
            self._poll.register(descriptor, select.POLLIN)

    def wait(self, end: float) -> bool:
        """False if the monotonic time ``end`` came before any write."""
        left = end - time.monotonic()
        if left <= 0 or not self._poll.poll(left * 1000):
            return False
        with contextlib.suppress(BlockingIOError):
            os.read(self._watch, 65536)
        return True


def _check(result: int, path: Path) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
