"""The processes of a run, and connections through it."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runtime.tunnels import Tunnel
from tng_demo.process import PATIENCE, Process


def children(run: Process, role: str) -> list[int]:
    """The processes of a run with this role, by what the kernel calls them."""
    found = []
    for pid in run.all_pids():
        try:
            if Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() == f"tng-{role}":
                found.append(pid)
        except (FileNotFoundError, ProcessLookupError):  # it ends just now
            continue
    return found


def only(run: Process, role: str) -> int:
    (found,) = children(run, role)
    return found


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@contextmanager
def connections(ends: Tunnel, count: int) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made: list[tuple[socket.socket, socket.socket]] = []
    try:
        made.extend(ends.connect() for _ in range(count))
        yield made
    finally:
        for sock in (sock for both in made for sock in both):
            sock.close()


@contextmanager
def connections_at_all(ends: Tunnel, run: Process) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """As many as it takes until every worker of ``run`` has one: on a busy host one of them may be quicker for long."""
    workers = children(run, "worker")
    before = [len(os.listdir(f"/proc/{pid}/fd")) for pid in workers]
    with contextlib.ExitStack() as stack:
        made: list[tuple[socket.socket, socket.socket]] = []
        while any(len(os.listdir(f"/proc/{pid}/fd")) <= had for pid, had in zip(workers, before, strict=True)):
            assert len(made) < 400, "the others get none"
            made += stack.enter_context(connections(ends, 4))
        yield made


def works(near: socket.socket, far: socket.socket) -> bool:
    near.sendall(b"ping")
    far.settimeout(PATIENCE)
    return far.recv(10) == b"ping"


def reset(sock: socket.socket) -> bool:
    """Whether reading ends with a reset; an end in order fails."""
    sock.settimeout(PATIENCE)
    try:
        while sock.recv(1000):
            pass
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False
