"""What a process that reads foreign bytes gives up before it reads the first: nearly everything.

Its user, all capabilities but the one that sets a mark on a socket, new privileges by execution, core dumps, being
looked into by other processes of its user, and (Landlock, where the kernel has it) every change to the file system;
system calls that it never makes are in ``syscalls``.
All of this is the calling thread's (capabilities(7), prctl(2), landlock(7)), so it is given up while there is one.

The signal that ends a child with its parent is asked for last: the kernel forgets it when a process changes its user
(prctl(2), PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import re
import resource
import signal
import struct
from dataclasses import dataclass

from tng_runtime.errors import HostError
from tng_runtime.kernel.capabilities import (
    CAP_KILL,
    CAP_NET_ADMIN,
    CAP_NET_RAW,
    CAP_SETGID,
    CAP_SETUID,
    effective,
)

_NAMES = {CAP_KILL: "KILL", CAP_SETGID: "SETGID", CAP_SETUID: "SETUID", CAP_NET_RAW: "NET_RAW"}
_CAPABILITY_VERSION_3 = 0x20080522
# linux/prctl.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS, _PR_CAPBSET_READ, _PR_CAPBSET_DROP = 1, 4, 8, 23, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
# asm-generic/unistd.h, and the same numbers on x86-64.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446
# linux/landlock.h: the rights of its first version, of which these two and READ_FILE, READ_DIR are the harmless ones.
_LANDLOCK_ALL, _LANDLOCK_READ, _LANDLOCK_PATH_BENEATH = (1 << 13) - 1, 1 << 2 | 1 << 3, 1
# From here on SO_MARK is CAP_NET_RAW's too (kernel: net/core/sock.c, commit 079925cce1d0).
_MARK_BY_NET_RAW = (5, 17)

DEFAULT_USER, _OVERFLOW_USER = "tng", 65534


@dataclass(frozen=True, slots=True)
class Unprivileged:
    """Whom judge and workers become, and the capabilities that they keep."""

    uid: int
    gid: int
    keep: frozenset[int]


def unprivileged(user: str | None = None, *, marks: bool = True) -> Unprivileged:
    """``user`` (a name or a number), or ``tng`` if there is one, else 65534, which is nobody's.

    A program that is not run as root stays who it is. Raises ``HostError`` if there is no such user, and unless this
    process may become it and leave it the right to set marks, if there are ``marks``.
    """
    if not marks and os.geteuid():
        return Unprivileged(os.geteuid(), os.getegid(), frozenset())
    mark = CAP_NET_RAW if kernel() >= _MARK_BY_NET_RAW else CAP_NET_ADMIN
    needed = (CAP_KILL, CAP_SETGID, CAP_SETUID, mark) if os.geteuid() == 0 else (mark,)
    missing = [_NAMES[each] for each in needed if each != CAP_NET_ADMIN and not effective() >> each & 1]
    if missing:
        raise HostError(
            f"judge and workers cannot be made unprivileged: this process has no CAP_{', CAP_'.join(missing)}",
            hint="run it as root, or in a container that was given these capabilities",
        )
    uid, gid = (os.geteuid(), os.getegid()) if os.geteuid() else _ids(user)
    return Unprivileged(uid, gid, frozenset({mark}))


def _ids(user: str | None) -> tuple[int, int]:
    try:
        if user is not None and user.isdecimal():
            uid = gid = int(user)
        else:
            found = pwd.getpwnam(user or DEFAULT_USER)
            uid, gid = found.pw_uid, found.pw_gid
    except KeyError:
        if user is None:
            return _OVERFLOW_USER, _OVERFLOW_USER
        hint = "`useradd --system --no-create-home NAME` makes one"
        raise HostError(f"--user: no such user: {user}", hint=hint) from None
    if uid == 0:
        raise HostError(f"--user: {user} is root", hint="judge and workers read what strangers send: name another")
    return uid, gid


def kernel() -> tuple[int, int]:
    """The version of the running kernel."""
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def drop(to: Unprivileged) -> None:
    """Become ``to``, for good. Raises ``OSError``; then nothing may be read from anybody."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _forget_bounding_set(to.keep)
    _prctl(_PR_SET_KEEPCAPS, 1)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(to.gid, to.gid, to.gid)
        os.setresuid(to.uid, to.uid, to.uid)
    _prctl(_PR_SET_KEEPCAPS, 0)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _set_capabilities(to.keep)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)
    left = effective()
    if left & ~sum(1 << each for each in to.keep):
        raise OSError(errno.EPERM, f"capabilities are left: {left:#x}")


def die_with(parent: int) -> None:
    """Let the kernel kill this process when the thread that forked it, of process ``parent``, is gone."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def only_read_files() -> bool:
    """Take away every change to the file system and all execution (landlock(7)); False if the kernel has no Landlock.

    ``no_new_privs`` is set already. Raises ``OSError``.
    """
    attributes = struct.pack("=Q", _LANDLOCK_ALL)
    ruleset = _syscall(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        if ctypes.get_errno() in (errno.ENOSYS, errno.EOPNOTSUPP):
            return False
        raise _error("landlock_create_ruleset")
    try:
        root = os.open("/", os.O_PATH | os.O_CLOEXEC)
        try:
            # struct landlock_path_beneath_attr, packed
            rule = struct.pack("=Qi", _LANDLOCK_READ, root)
            if _syscall(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, rule, 0) < 0:
                raise _error("landlock_add_rule")
        finally:
            os.close(root)
        if _syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) < 0:
            raise _error("landlock_restrict_self")
    finally:
        os.close(ruleset)
    return True


def _forget_bounding_set(keep: frozenset[int]) -> None:
    capability = 0
    while _LIBC.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        # Without CAP_SETPCAP it stays; no_new_privs keeps it from being of any use.
        if capability not in keep and _LIBC.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            return
        capability += 1


def _set_capabilities(keep: frozenset[int]) -> None:
    bits = sum(1 << each for each in keep)
    # struct __user_cap_header_struct; struct __user_cap_data_struct [2]: effective, permitted, inheritable
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = struct.pack("=6I", bits & 0xFFFFFFFF, bits & 0xFFFFFFFF, 0, bits >> 32, bits >> 32, 0)
    if _LIBC.capset(header, data) < 0:
        raise _error("capset")


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) < 0:
        raise _error(f"prctl {option}")


def _syscall(number: int, *arguments: object) -> int:
    return int(_LIBC.syscall(ctypes.c_long(number), *arguments))


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


_LIBC = ctypes.CDLL(None, use_errno=True)
