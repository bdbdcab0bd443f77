"""What a process cannot do any more, and what it still can, asked of the kernel by a process that gave it up."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import cast

import pytest

from tng_runtime.serve import syscalls

# Prints what an attempt ended with, or the value of an expression.
PROGRAM = """
import ctypes, errno, json, os, platform, resource, socket, sys, threading
from tng_runtime.serve import privileges, syscalls
libc = ctypes.CDLL(None, use_errno=True)
parent = os.getppid()
privileges._prctl(privileges._PR_SET_NO_NEW_PRIVS, 1)
syscalls.refuse()
def call(name, *arguments):
    number = syscalls._library(syscalls._LIBRARY).seccomp_syscall_resolve_name(name.encode())
    done = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))
    return "done" if done >= 0 else errno.errorcode[ctypes.get_errno()]
def thread():
    found = []
    one = threading.Thread(target=lambda: found.append("done"))
    one.start()
    one.join()
    return found[0]
def attempt(act):
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
print(json.dumps({expression: eval(expression) for expression in json.load(sys.stdin)}))
"""


REFUSED = [
    "call('ptrace', 16, parent, 0, 0)",
    "call('process_vm_readv', parent, 0, 0, 0, 0, 0)",
    "call('unshare', 0x10000000)",
    "call('setns', 0, 0)",
    "call('clone', 0x10000000 | 17, 0, 0, 0, 0)",
    "call('clone', 0x40000000 | 17, 0, 0, 0, 0)",
    "call('mount', 0, 0, 0, 0, 0)",
    "call('bpf', 0, 0, 0)",
    "call('io_uring_setup', 1, 0)",
    "call('userfaultfd', 0)",
    "call('keyctl', 0, 0, 0, 0, 0)",
    "call('perf_event_open', 0, 0, 0, 0, 0)",
    "call('kill', parent, 0)",
    "call('kill', 1 << 32 | parent, 0)",
    "call('tgkill', parent, parent, 0)",
    "call('prlimit64', parent, 7, 0, 0)",
    "call('ioctl', 2, 0x5412, 0)",
    "call('ioctl', 2, 1 << 32 | 0x5412, 0)",
    "attempt(lambda: os.execv('/bin/true', ['true']))",
    "attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12))",
    "attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3))",
    "attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 3))",
    "attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))",
    "attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58))",
    "attempt(lambda: socket.socket(38, socket.SOCK_SEQPACKET, 0))",
    "attempt(lambda: socket.socket(40, socket.SOCK_STREAM, 0))",
    "call('socket', 1 << 32 | 17, 3, 768)",
    "call('socket', 1 << 32 | 15, 3, 2)",
    "call('socket', 16, 3, 12)",
    "attempt(lambda: socket.socket().setsockopt(0, 19, 1))",
    "attempt(lambda: socket.socket(socket.AF_INET6).setsockopt(41, 75, 1))",
    "call('setsockopt', 0, 1 << 32, 1 << 32 | 19, 0, 0)",
    "call('socket', 16, 3, 1 << 32)",
    "call('socket', 2, 1 << 32 | 0o2000000 | 3, 1)",
]
LEFT = [
    "attempt(lambda: socket.create_server(('127.0.0.1', 0)).close())",
    "attempt(lambda: socket.getaddrinfo('localhost', 80))",
    "attempt(lambda: socket.socket().setsockopt(0, 24, 1))",
    "attempt(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close())",
    "attempt(lambda: [one.close() for one in socket.socketpair()])",
    "attempt(lambda: os.kill(os.getpid(), 0))",
    "attempt(lambda: resource.setrlimit(resource.RLIMIT_CORE, (0, 0)))",
    "thread()",
    "(os.fork() or os._exit(0)) and 'done'",
]


@pytest.fixture(scope="module")
def after_refusal() -> dict[str, str]:
    """What became of each attempt, in one process."""
    argv, asked = [sys.executable, "-c", PROGRAM], json.dumps(REFUSED + LEFT)
    done = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60, input=asked)
    return cast("dict[str, str]", json.loads(done.stdout))


def test_the_host_of_the_tests_has_the_library() -> None:
    assert syscalls.available() is None


@pytest.mark.parametrize("attempt", REFUSED)
def test_it_is_refused(after_refusal: dict[str, str], attempt: str) -> None:
    assert after_refusal[attempt] == "EPERM"


@pytest.mark.parametrize("attempt", LEFT)
def test_it_can_still_be_done(after_refusal: dict[str, str], attempt: str) -> None:
    assert after_refusal[attempt] == "done"


def test_without_the_library_nothing_is_refused_and_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syscalls, "_LIBRARY", "libabsent.so.2")
    assert "libabsent.so.2" in (syscalls.available() or "")
    syscalls.refuse()
