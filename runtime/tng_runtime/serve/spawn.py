"""The nursery: a process without a loop, a thread or a secret, from which the others are forked.

A process with threads cannot be forked safely, and one with an event loop hands its children a loop that they must not
use; the supervisor has both. So before it has either it forks this one, which waits for ``Spawn``, forks, tells who
ended, and reads nothing from anybody else. What was imported before is shared memory for all of them (gc.freeze).
When the supervisor is gone the kernel kills the nursery, and with the nursery its children.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import os
import select
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NoReturn, cast

from tng_runtime import log
from tng_runtime.kernel import memory
from tng_runtime.messages import Ended, NotSpawned, Spawn, Spawned
from tng_runtime.serve import channel, privileges
from tng_runtime.serve.channel import EndedError, Line

ChildRole = Literal["judge", "worker", "control"]
# What a child does until its end: its role, and its channel to the supervisor.
Work = Callable[[ChildRole, socket.socket], None]

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PR_SET_NAME = 15
_STANDARD = 3
# What would be imported in each child otherwise, when its loop begins: some MiB for each.
_LATE = ("uvloop", "anyio._backends._asyncio")


@dataclass(frozen=True, slots=True)
class Nursery:
    """The supervisor's side of it."""

    pid: int
    sock: socket.socket


def start(work: Work) -> Nursery:
    """Fork the nursery from this process, which has one thread and no event loop. Raises ``OSError``."""
    ours, theirs = channel.pair()
    for module in _LATE:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    memory.give_back()
    parent = os.getpid()
    if (pid := os.fork()) == 0:
        _as_child("tng-nursery", lambda: _run(parent, theirs, work))
    theirs.close()
    memory.unmap_files()
    return Nursery(pid, ours)


def _as_child(name: str, act: Callable[[], object]) -> NoReturn:
    """Do ``act`` in a process that was forked just now, and never return into what its parent was doing."""
    try:
        _LIBC.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
        act()
    except BaseException as error:
        log.error("bug", process=name, error=f"{type(error).__name__}: {error}", advice="please report it")
        log.close()
        os._exit(2)
    log.close()
    os._exit(0)


def _keep_only(*descriptors: int) -> None:
    """Close what was inherited: the lock of the run among others, which must end with the supervisor."""
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor >= _STANDARD and descriptor not in descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)


def _run(parent: int, sock: socket.socket, work: Work) -> None:
    # A terminal and a service manager signal the whole group: the supervisor alone decides what that means. All that
    # are forked from here inherit it.
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _IGNORED)
    signal.set_wakeup_fd(-1)
    privileges.die_with(parent)
    _keep_only(sock.fileno())
    nursery = _Children(Line(sock), work)
    with contextlib.suppress(EndedError, OSError):
        nursery.serve()


@dataclass(slots=True)
class _Children:
    line: Line
    work: Work
    fork: Callable[[], int] = os.fork
    # By pidfd: number and process id.
    running: dict[int, tuple[int, int]] = field(default_factory=dict)

    def serve(self) -> None:
        """Until the supervisor is gone."""
        poll = select.poll()
        poll.register(self.line.fileno(), select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor == self.line.fileno():
                    for message, descriptors in self.line.receive():
                        assert isinstance(message, Spawn)
                        if (child := self.spawn(message, *descriptors)) is not None:
                            poll.register(child, select.POLLIN)
                else:
                    poll.unregister(descriptor)
                    self.bury(descriptor)

    def spawn(self, wanted: Spawn, descriptor: int) -> int | None:
        """Fork a child; its pidfd."""
        sock = socket.socket(fileno=descriptor)
        try:
            with sock:
                parent = os.getpid()
                if (pid := self.fork()) == 0:
                    role = cast("ChildRole", wanted.role)
                    _as_child(f"tng-{role}", lambda: self.live(parent, role, sock))
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self.line.send(NotSpawned(wanted.number, str(error.strerror)))
            return None
        self.running[pidfd] = (wanted.number, pid)
        self.line.send(Spawned(wanted.number, pid), pidfd)
        return pidfd

    def live(self, parent: int, role: ChildRole, sock: socket.socket) -> None:
        """The child, which asks once more for the signal of its parent's end when it has changed its user."""
        privileges.die_with(parent)
        _keep_only(sock.fileno())
        self.work(role, sock)

    def bury(self, pidfd: int) -> None:
        """Tell of the end of a child."""
        number, pid = self.running.pop(pidfd)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        self.line.send(Ended(number, os.waitstatus_to_exitcode(status)))


_LIBC = ctypes.CDLL(None)
