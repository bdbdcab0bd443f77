"""What is left of a process that gave everything up: the kernel is asked, not the process."""

from __future__ import annotations

import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tng_runtime.errors import HostError
from tng_runtime.kernel.capabilities import CAP_NET_ADMIN, CAP_NET_RAW
from tng_runtime.serve import privileges
from tng_runtime.serve.privileges import Unprivileged

pytestmark = pytest.mark.netns

TO = Unprivileged(65534, 65534, frozenset({CAP_NET_RAW}))


@contextmanager
def child(act: Callable[[], object]) -> Iterator[tuple[int, str]]:
    """A forked process that did ``act`` and waits: its id, and what ``act`` returned or raised, as text."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = repr(act())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(writing, said.encode())
        signal.pause()
        os._exit(0)
    os.close(writing)
    try:
        yield pid, os.read(reading, 1 << 16).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)


def status(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def mark_a_socket() -> int:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 7)
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_MARK)


def test_all_is_given_up_but_the_capability_of_the_mark() -> None:
    def act() -> int:
        privileges.drop(TO)
        return mark_a_socket()

    with child(act) as (pid, said):
        assert said == "7"
        found = status(pid)
        one = f"{1 << CAP_NET_RAW:016x}"
        assert [found[name] for name in ("CapEff", "CapPrm", "CapBnd")] == [one] * 3
        assert [found[name] for name in ("CapInh", "CapAmb")] == ["0" * 16] * 2
        assert found["NoNewPrivs"] == "1"
        assert found["Uid"].split() == found["Gid"].split() == ["65534"] * 4
        assert found["Groups"] == ""
        limits = Path(f"/proc/{pid}/limits").read_text(encoding="ascii")
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)
        # Of a process that is not dumpable the kernel gives these files to root (proc(5)).
        assert Path(f"/proc/{pid}/environ").stat().st_uid == 0


def test_there_is_no_way_back() -> None:
    def act() -> None:
        privileges.drop(TO)
        os.setresuid(0, 0, 0)

    with child(act) as (_, said):
        assert said.startswith("PermissionError")


def test_rules_cannot_be_changed_any_more() -> None:
    def act() -> None:
        privileges.drop(TO)
        from tng_runtime.kernel import nftables

        nftables.require_privileges()

    with child(act) as (_, said):
        assert "CAP_NET_ADMIN" in said


def test_files_are_read_and_not_written_where_the_kernel_has_landlock() -> None:
    # Not below pytest's own directory, into which other users do not get.
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o777)
        (directory / "file").write_text("content")

        def act() -> object:
            privileges.drop(TO)
            if not privileges.only_read_files():
                return "no Landlock"
            wrote = True
            try:
                (directory / "other").write_text("x")
            except PermissionError:
                wrote = False
            return (directory / "file").read_text(), wrote

        with child(act) as (_, said):
            if said == "'no Landlock'":
                pytest.skip("this kernel has no Landlock")
            assert said == "('content', False)"


def test_a_child_dies_with_the_process_that_forked_it() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        mine = os.getpid()
        if os.fork() == 0:
            privileges.drop(TO)
            privileges.die_with(mine)
            os.write(writing, f"{os.getpid()}\n".encode())
        signal.pause()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        grandchild = int(pipe.readline())
        found = os.pidfd_open(grandchild)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        # The end of the pipe is the end of the last process that had it open.
        assert pipe.read() == ""
    os.close(found)


def test_a_child_whose_parent_is_gone_already_does_not_stay() -> None:
    pid = os.fork()
    if pid == 0:
        privileges.die_with(1 << 22)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_who_they_become(monkeypatch: pytest.MonkeyPatch) -> None:
    assert privileges.unprivileged("12345") == Unprivileged(12345, 12345, frozenset({CAP_NET_RAW}))
    assert privileges.unprivileged("nobody").uid == 65534
    with pytest.raises(HostError, match="no such user"):
        privileges.unprivileged("nobody-of-this-name")
    for root in ("root", "0"):
        with pytest.raises(HostError, match="is root"):
            privileges.unprivileged(root)
    monkeypatch.setattr(privileges, "kernel", lambda: (5, 10))
    assert privileges.unprivileged("12345").keep == {CAP_NET_ADMIN}


def test_who_cannot_give_it_up_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privileges, "effective", lambda: 1 << CAP_NET_ADMIN)
    with pytest.raises(HostError, match="CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_RAW"):
        privileges.unprivileged()
