"""Memory that nothing uses goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tng_runtime.kernel import memory

SCRIPT = """
import ctypes
from tng_runtime.kernel import memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
taken = [libc.malloc(1000) for _ in range(100_000)]
for block in taken:
    ctypes.memset(block, 1, 1000)
last = libc.malloc(1000)  # the end of the heap stays in use, so that free(3) gives nothing back
for block in taken:
    libc.free(block)
before = resident()
memory.give_back()
print(before - resident())
"""


def test_what_was_freed_in_small_pieces_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 50_000, "kB of some 97,000"


MAPPED = """
from tng_runtime.kernel import memory
from tng_runtime.tunnel.rehearsal import rehearse
def mapped():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssFile"))
rehearse()
before = mapped()
memory.unmap_files()
print(before, mapped())
rehearse()
"""


def test_files_that_were_needed_for_a_moment_are_not_mapped_any_more_and_still_there() -> None:
    done = subprocess.run([sys.executable, "-c", MAPPED], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < before / 2


def test_a_kernel_that_does_not_tell_what_is_mapped_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_MAPS", Path("/proc/self/no-smaps"))
    memory.unmap_files()


def test_what_was_written_to_stays() -> None:
    maps = b"""\
1000-2000 r-xp 00000000 fe:00 17                         /usr/lib/libc.so.6
Anonymous:             0 kB
2000-3000 r--p 00001000 fe:00 17                         /usr/lib/libc.so.6
Anonymous:             4 kB
3000-4000 rw-p 00002000 fe:00 17                         /usr/lib/libc.so.6
Anonymous:             0 kB
4000-5000 r--p 00000000 00:00 0
Anonymous:             0 kB
5000-6000 r--s 00000000 fe:00 18                         /a file with blanks
Anonymous:             0 kB
6000-7000 r--p 00000000 fe:00 19                         /a file with blanks
Anonymous:             0 kB
"""
    assert list(memory._unchanged(maps.splitlines())) == [(0x1000, 0x2000), (0x6000, 0x7000)]


APART = """
import ctypes, sys
from tng_runtime.kernel import memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def of_the_heap(size):
    begin, end = next(line.split()[0].split("-") for line in open("/proc/self/maps") if line.endswith("[heap]\\n"))
    taken = libc.malloc(size)
    found = int(begin, 16) <= taken < int(end, 16)
    libc.free(taken)
    return found
if sys.argv[1:]:
    memory.keep_large_apart()
libc.free(libc.malloc(4 << 20))
libc.free(libc.malloc(2 << 20))
print(of_the_heap(512 << 10))
"""


@pytest.mark.parametrize(("words", "found"), [([], "True"), (["apart"], "False")])
def test_what_is_large_stays_apart_after_something_larger_was_freed(words: list[str], found: str) -> None:
    done = subprocess.run([sys.executable, "-c", APART, *words], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == found
