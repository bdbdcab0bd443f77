"""Memory that nothing uses goes back to the kernel."""

from __future__ import annotations

import subprocess
import sys

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
