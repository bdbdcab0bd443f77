"""Entries of systemd's journal: its socket is real, and so is the program that writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tng_runtime import journal
from tng_runtime.journal import Journal

PATIENCE = 60.0


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(PATIENCE)
        yield sock


def fields(data: bytes) -> dict[str, str]:
    """An entry as the journal reads it."""
    found = {}
    while data:
        name, _, data = data.partition(b"\n")
        length = int.from_bytes(data[:8], "little")
        found[name.decode()] = data[8 : 8 + length].decode()
        assert data[8 + length : 9 + length] == b"\n"
        data = data[9 + length :]
    return found


def test_each_word_is_a_field_and_no_value_makes_another(listening: socket.socket, tmp_path: Path) -> None:
    entry = Journal(tmp_path / "socket")
    assert entry.send("warning", "a line", {"event": "refused", "refused.RA-X": 3, "detail": "x\nPRIORITY=0\n"})
    entry.close()
    assert fields(listening.recv(1 << 16)) == {
        "MESSAGE": "a line",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "tng",
        "TNG_EVENT": "refused",
        "TNG_REFUSED_RA_X": "3",
        "TNG_DETAIL": "x\nPRIORITY=0\n",
    }


def test_a_journal_that_has_no_room_or_is_gone_takes_nothing_and_stops_nobody(
    listening: socket.socket, tmp_path: Path
) -> None:
    entry = Journal(tmp_path / "socket")
    taken = 0
    while entry.send("info", "x" * 1000, {}):
        taken += 1
        assert taken < 100_000
    assert taken
    entry.close()
    listening.close()
    assert not Journal(tmp_path / "nowhere").send("info", "x", {})


def test_only_what_systemd_connected_is_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert journal.is_standard_error()
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert not journal.is_standard_error()
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not journal.is_standard_error()


@pytest.mark.parametrize("named", [(), ("json",)], ids=["by default", "unless a format is named"])
def test_a_program_and_what_it_forks_write_entries(
    listening: socket.socket, tmp_path: Path, named: tuple[str, ...]
) -> None:
    """Standard error is then for what the journal does not take."""
    program = f"""
import os, pathlib
from tng_runtime import journal, log
journal.SOCKET = pathlib.Path({str(tmp_path / "socket")!r})
journal.Journal.__init__.__defaults__ = (journal.SOCKET,)
status = os.fstat(2)
os.environ["JOURNAL_STREAM"] = f"{{status.st_dev}}:{{status.st_ino}}"
log.configure(*{named!r})
log.info("before", number=1)
if os.fork() == 0:
    os.closerange(3, 100)
    log.info("in_the_child")
    os._exit(0)
os.wait()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)
    if named:
        assert [line.count('"event"') for line in done.stderr.splitlines()] == [1, 1]
        return
    assert done.stderr == ""
    assert [fields(listening.recv(1 << 16))["TNG_EVENT"] for _ in range(2)] == ["before", "in_the_child"]
