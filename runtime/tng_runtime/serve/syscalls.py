"""System calls that the unprivileged processes never make, and then cannot: a filter by libseccomp, if there is one.

It is a list of what is refused (EPERM), not of what is allowed: what an interpreter, OpenSSL, the resolver and uvloop
call changes with their versions, and a worker that dies of a new one is worse than one that keeps a harmless one. What
stands here leads to other processes, to rules, to other namespaces, or into parts of the kernel that no tunnel needs.

Arguments are compared as the 64 bits of a register; the kernel looks at the lower 32 of an int. So what is refused for
being equal is compared under a mask, and what is allowed must be equal in all bits.

The filter is made once, by the process from which the others are forked: making it writes to half a megabyte of what
they share. Each puts its own number into it.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_LIBRARY = "libseccomp.so.2"
# seccomp.h of libseccomp 2.5
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NE, _GT, _MASKED_EQ = 1, 6, 7
_INT = 0xFFFFFFFF

# linux/seccomp.h; without SPEC_ALLOW (Linux 4.17) kernels before 5.16 make every such process slower
_SET_MODE_FILTER, _SPEC_ALLOW = 1, 1 << 2
# linux/prctl.h, and SECCOMP_MODE_FILTER
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 22, 38
_MODE_FILTER = 2
# linux/filter.h, struct sock_filter: the operation, where to go on, the number that is compared
_INSTRUCTION, _NUMBER = struct.Struct("=HBBI"), 4
# In place of a process's number, which is below 2^22 (proc_pid_max(5)).
_OWN = 0x7E57E57E

# Whole calls, by what they would lead to.
_OTHER_PROCESSES = """
    ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd pidfd_send_signal tkill
    rt_sigqueueinfo rt_tgsigqueueinfo kcmp migrate_pages move_pages setpriority sched_setaffinity sched_setscheduler
    sched_setparam sched_setattr ioprio_set execve execveat
"""
_NAMESPACES_AND_MOUNTS = """
    unshare setns mount umount umount2 pivot_root chroot move_mount open_tree mount_setattr fsopen fsconfig fsmount
    fspick name_to_handle_at open_by_handle_at quotactl quotactl_fd
"""
_THE_HOST = """
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff acct syslog sethostname
    setdomainname iopl ioperm settimeofday clock_settime clock_adjtime adjtimex vhangup personality
"""
_MUCH_KERNEL = """
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register keyctl add_key request_key
    fanotify_init lookup_dcookie nfsservctl uselib ustat sysfs vm86 modify_ldt remap_file_pages
"""
_REFUSED = (_OTHER_PROCESSES + _NAMESPACES_AND_MOUNTS + _THE_HOST + _MUCH_KERNEL).split()

# linux/socket.h: what is above AF_NETLINK is AF_PACKET, AF_ALG, AF_VSOCK, AF_XDP, ...
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE_MASK, _SOCK_RAW, _SOCK_PACKET = 0xF, 3, 10
# glibc asks it for addresses before it orders those of a name (getaddrinfo(3)).
_NETLINK_ROUTE = 0
# linux/sched.h: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_NEW_NAMESPACE = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
# asm-generic/ioctls.h: typing into the terminal that standard error may be
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# linux/in.h, linux/in6.h: SOL_IP and IP_TRANSPARENT, SOL_IPV6 and IPV6_TRANSPARENT, for which CAP_NET_RAW is enough
_TRANSPARENT = ((0, 19), (41, 75))


class _Compare(ctypes.Structure):
    """struct scmp_arg_cmp: argument, operator, and its two numbers (of a mask: the mask, and what must be under it)."""

    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class _Rule:
    """Refuse ``name`` if all of ``compares`` hold: argument, operator, number, number."""

    name: str
    compares: tuple[tuple[int, int, int, int], ...] = ()
    error: int = errno.EPERM


class _Program(ctypes.Structure):
    """struct sock_fprog of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


@dataclass(frozen=True, slots=True)
class _Filter:
    """Instructions, where a process's own number belongs in them, and the number of seccomp(2) here."""

    instructions: bytes
    own: tuple[int, ...]
    call: int


def available(*, borrows: bool = False) -> str | None:
    """Make the filters, for all that are forked later; what is wrong with the library, or None. Raises ``OSError``.

    ``borrows``: there is to be one for who dials from addresses of others.
    """
    try:
        _made(_LIBRARY, False)
        if borrows:
            _made(_LIBRARY, True)
    except (_AbsentError, AttributeError) as error:
        return str(error)
    return None


def refuse(*, borrows: bool = False) -> None:
    """Refuse the list to this thread and to all that it starts, for good, if there is a library.

    ``borrows``: it dials from addresses of others. It sets ``no_new_privs``. Raises ``OSError``, with ENOSYS or EINVAL
    from a kernel without filters.
    """
    if available() is not None:
        return
    made = _made(_LIBRARY, borrows)
    instructions = bytearray(made.instructions)
    for at in made.own:
        struct.pack_into("=I", instructions, at, os.getpid())
    program = _Program(len(instructions) // _INSTRUCTION.size, bytes(instructions))
    mode, flags = ctypes.c_ulong(_SET_MODE_FILTER), ctypes.c_ulong(_SPEC_ALLOW)
    if _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0:
        raise _error("prctl")
    if _LIBC.syscall(ctypes.c_long(made.call), mode, flags, ctypes.byref(program)) == 0:
        return
    # Where a unit's own filter (SystemCallFilter) knows nothing of seccomp(2), prctl(2) does the same without the flag.
    if _LIBC.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(program), 0, 0) < 0:
        raise _error("seccomp")


@functools.cache
def _made(name: str, borrows: bool) -> _Filter:
    library = _library(name)
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(_ALLOW)))
    if context.value is None:
        raise OSError(errno.ENOMEM, "seccomp_init")
    try:
        for rule in _rules(_OWN, borrows=borrows):
            # Negative: unknown to this architecture, or to a library of before it.
            if (number := library.seccomp_syscall_resolve_name(rule.name.encode())) >= 0:
                compares = (_Compare * len(rule.compares))(*(_Compare(*each) for each in rule.compares))
                action = ctypes.c_uint32(_ERRNO | rule.error)
                _check(library.seccomp_rule_add_array(context, action, number, len(rule.compares), compares), rule.name)
        descriptor = os.memfd_create("seccomp")
        try:
            _check(library.seccomp_export_bpf(context, descriptor), "seccomp_export_bpf")
            instructions = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        finally:
            os.close(descriptor)
    finally:
        library.seccomp_release(context)
    numbers = (number for *_, number in _INSTRUCTION.iter_unpack(instructions))
    own = tuple(at * _INSTRUCTION.size + _NUMBER for at, number in enumerate(numbers) if number == _OWN)
    return _Filter(instructions, own, library.seccomp_syscall_resolve_name(b"seccomp"))


def _rules(own: int, *, borrows: bool) -> Iterator[_Rule]:
    yield from map(_Rule, _REFUSED)
    # glibc makes threads with clone(2) then; the flags of clone3(2) are in memory, which a filter cannot read.
    yield _Rule("clone3", error=errno.ENOSYS)
    for flag in _NEW_NAMESPACE:
        yield _Rule("clone", ((0, _MASKED_EQ, flag, flag),))
    for name in ("kill", "tgkill"):
        yield _Rule(name, ((0, _NE, own, 0),))
    yield _Rule("prlimit64", ((0, _NE, 0, 0),))
    for request in (_TIOCSTI, _TIOCLINUX):
        yield _Rule("ioctl", ((1, _MASKED_EQ, _INT, request),))
    for family in set(range(_AF_NETLINK)) - {_AF_UNIX, _AF_INET, _AF_INET6}:
        yield _Rule("socket", ((0, _MASKED_EQ, _INT, family),))
    yield _Rule("socket", ((0, _GT, _AF_NETLINK, 0),))
    yield _Rule("socket", ((0, _MASKED_EQ, _INT, _AF_NETLINK), (2, _NE, _NETLINK_ROUTE, 0)))
    for family in (_AF_INET, _AF_INET6):
        for kind in (_SOCK_RAW, _SOCK_PACKET):
            yield _Rule("socket", ((0, _MASKED_EQ, _INT, family), (1, _MASKED_EQ, _SOCK_TYPE_MASK, kind)))
    for level, option in () if borrows else _TRANSPARENT:
        yield _Rule("setsockopt", ((1, _MASKED_EQ, _INT, level), (2, _MASKED_EQ, _INT, option)))


class _AbsentError(Exception):
    """This host has no such library."""


def _library(name: str) -> ctypes.CDLL:
    try:
        library = ctypes.CDLL(name)
    except OSError as error:
        raise _AbsentError(str(error)) from None
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _check(result: int, what: str) -> None:
    if result < 0:
        raise OSError(-result, f"{what}: {os.strerror(-result)}")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")


_LIBC = ctypes.CDLL(None, use_errno=True)
