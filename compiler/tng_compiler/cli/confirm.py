"""``apply --confirm`` and ``confirm``: who does not say in time that all is well gets back what was before.

``apply`` becomes the runtime, so a process of its own waits, in a session of its own: it survives the terminal, its
shell and the connection of whoever typed. It listens on a unix socket in /run/tng for ``tng confirm``. When the time is
over, or the new run ends without it, the state of before returns: a run takes over with the document of before; where
nothing ran and nothing was refused, the run is ended and its rules go; where the rules of a run that is gone refused,
they refuse again. If meanwhile somebody else has taken over, the state is theirs, and nothing happens.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn

from tng_compiler.cli import history
from tng_compiler.cli.bug import report
from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.runtime import UNTIL_IT_RUNS, become, find_runtime
from tng_compiler.host import nft, program, running
from tng_compiler.host.places import run_directory

_CONFIRM, _NOT_YET, _DONE = b"confirm", b"not yet", b"confirmed"
# For ``tng confirm`` to be answered, and for a run to end after two signals.
_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Before:
    """What was there: a run, rules that refuse without one, or nothing. ``record`` is that of its document."""

    state: Literal["serving", "closed", "open"]
    record: history.Record | None


def before(table: str) -> Before:
    """Look at the host; ends the run with 3 if what runs could not be brought back."""
    if (run := running.find(table)) is None:
        kept = history.records(table)
        closed = _has_tables(table)
        return Before("closed" if closed else "open", kept[-1] if kept and closed else None)
    record = history.find(table, run.record)
    if record is None:
        fail(
            Exit.HOST_NOT_READY,
            f"process {run.pid} runs inet {table}, and its document is not kept: nothing could be brought back",
            "`tng apply` keeps what it applies; apply without --confirm once",
        )
    return Before("serving", record)


def socket_path(table: str) -> Path:
    """Where the waiting process of an instance of this network namespace is told."""
    return Path(run_directory(), f"{table}.{running.namespace()}.confirm")


def pending(table: str) -> socket.socket | None:
    """A connection to the process that waits for ``tng confirm``, if there is one."""
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(_SECONDS)
    try:
        sock.connect(str(socket_path(table)))
    except OSError:
        sock.close()
        return None
    return sock


def run_confirm(table: str) -> Exit:
    """Say that all is well; 3 if nothing waits for it, or does not serve yet."""
    sock = pending(table)
    if sock is None:
        fail(
            Exit.HOST_NOT_READY, f"nothing of inet {table} waits to be confirmed", "it is confirmed, or was taken back"
        )
    with sock:
        sock.sendall(_CONFIRM)
        answer = sock.recv(64)
    if answer != _DONE:
        fail(Exit.HOST_NOT_READY, f"inet {table} does not serve yet, or was just taken back", "its log says why")
    print(f"confirmed: inet {table}")
    return Exit.CLEAN


def dismiss(table: str) -> None:
    """Let nobody wait any more: another document is about to be applied by hand."""
    if sock := pending(table):
        with sock:
            sock.sendall(b"dismiss")
            sock.recv(64)


def watch(table: str, record: Path, was: Before, seconds: float, restore: Callable[[Before], Sequence[str]]) -> None:
    """Start the process that waits; this one goes on, to become the runtime.

    ``restore`` makes the command of the runtime that brings back a document that served or refused.
    """
    listener = _listen(socket_path(table), record)
    runtime = os.pidfd_open(os.getpid())
    if child := os.fork():
        os.waitpid(child, 0)
        listener.close()
        os.close(runtime)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    _wait_and_restore(table, record, was, seconds, restore, listener, runtime)


def _listen(path: Path, record: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(1)
    except OSError as error:
        history.discard(record)
        fail(Exit.HOST_NOT_READY, f"cannot wait at {path}: {error.strerror}", f"look at {path.parent}")
    return listener


def _wait_and_restore(
    table: str,
    record: Path,
    was: Before,
    seconds: float,
    restore: Callable[[Before], Sequence[str]],
    listener: socket.socket,
    runtime: int,
) -> NoReturn:
    try:
        os.chdir("/")
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, UNTIL_IT_RUNS)
        why, run = _wait(table, listener, runtime, record, time.monotonic() + seconds)
        socket_path(table).unlink(missing_ok=True)
        listener.close()
        if why is not None:
            if run is not None and not record.is_dir():
                # One that does not serve yet may not have the lock, by which runs are found, and would serve later.
                _end(run)
            _take_back(table, record, was, why, restore)
    except Exception as error:
        report(error)
    finally:
        with suppress(OSError):
            run_directory().rmdir()
        os._exit(Exit.CLEAN)


def _wait(table: str, listener: socket.socket, runtime: int, record: Path, end: float) -> tuple[str | None, int | None]:
    """Why the state of before returns, None when it was confirmed; and the run, None when it has ended.

    A run that SIGHUP made again is the same to us.
    """
    while (left := end - time.monotonic()) > 0:
        ready, _, _ = select.select([listener.fileno(), runtime], [], [], left)
        if runtime in ready:
            os.close(runtime)
            heir = running.find(table)
            if heir is None or heir.record != record.name or (found := _open(heir.pid)) is None:
                return "the run has ended before it was confirmed", None
            runtime = found
        if listener.fileno() in ready:
            sock, _ = listener.accept()
            with sock, suppress(OSError):
                sock.settimeout(_SECONDS)
                word = sock.recv(64)
                if word == _CONFIRM and not record.is_dir():
                    sock.sendall(_NOT_YET)
                elif word:
                    sock.sendall(_DONE)
                    return None, runtime
    return "it was not confirmed in time", runtime


def _take_back(table: str, record: Path, was: Before, why: str, restore: Callable[[Before], Sequence[str]]) -> None:
    if not _is_ours(table, record):
        _say(f"inet {table}: {why}; the run that serves goes on")
        return
    _say(f"inet {table}: {why}; what was before returns: {was.state}")
    _return_to(table, was, restore)


def _is_ours(table: str, record: Path) -> bool:
    """Whether nobody else has taken over."""
    now = running.find(table)
    return now is None or now.record == record.name


def _return_to(table: str, was: Before, restore: Callable[[Before], Sequence[str]]) -> None:
    if was.state != "serving":
        if (run := running.find(table)) is not None and (found := _open(run.pid)) is not None:
            _end(found)
        if was.state == "open" and not any(nft.privileges()):
            become(find_runtime(), ["down", "--table", table])
        if was.record is None:
            _say(f"inet {table}: the rules of the document that was taken back refuse, there is none of before")
            return
    become(find_runtime(), restore(was))


def _open(pid: int) -> int | None:
    with suppress(ProcessLookupError):
        return os.pidfd_open(pid)
    return None


def _end(run: int) -> None:
    """The first signal lets connections end, the second ends them."""
    with suppress(ProcessLookupError):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.pidfd_send_signal(run, number)
        if not select.select([run], [], [], _SECONDS)[0]:
            signal.pidfd_send_signal(run, signal.SIGKILL)
            select.select([run], [], [])


def _has_tables(table: str) -> bool:
    if any(nft.privileges()):
        return False  # a run of doors alone: there are no rules
    done = program.run("nft", "list", "tables", "inet")
    if done is None or done.returncode != 0:
        problem = done.stderr.strip() if done else "it cannot be executed"
        fail(Exit.HOST_NOT_READY, f"`nft list tables` failed: {problem}", "`tng doctor` says what is missing")
    return f"table inet {table}" in done.stdout.splitlines()


def _say(text: str) -> None:
    # Whoever typed may have gone, and the terminal with them.
    with suppress(OSError):
        print(f"tng: {text}", file=sys.stderr, flush=True)
