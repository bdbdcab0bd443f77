"""Lines that a reader of standard error takes late, never, or after a fork; the pipes are real."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tng_runtime.outlet import Outlet

PATIENCE = 20.0
LINE = "x" * 99 + "\n"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe of one page, which takes 4096 bytes."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    yield reader, writer
    os.close(writer)
    os.close(reader)


def told(count: int) -> str:
    return f"dropped={count}\n"


def take(reader: int, until: str, got: str = "") -> str:
    while until not in got:
        got += os.read(reader, 1 << 16).decode()
    return got


def lose(outlet: Outlet, lines: int) -> None:
    """Wait until that many are lost; no event tells of a write that failed."""
    end = time.monotonic() + PATIENCE
    while outlet.lost < lines:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_handed_over_arrives_whole_and_in_order(pipe: tuple[int, int]) -> None:
    outlet = Outlet(told)
    outlet.hand_over(pipe[1])
    for number in range(500):
        outlet.write(f"{number}\n")
    got: list[str] = []
    reading = threading.Thread(target=lambda: got.append(take(pipe[0], "499\n")))
    reading.start()
    outlet.close(PATIENCE)
    reading.join(PATIENCE)
    assert got == ["".join(f"{number}\n" for number in range(500))]


def test_every_line_is_written_or_counted(pipe: tuple[int, int]) -> None:
    """Whatever the two threads do to each other."""
    outlet = Outlet(told, limit=10_000)
    outlet.hand_over(pipe[1])
    got: list[str] = []
    begin = threading.Event()

    def read() -> None:
        begin.wait(PATIENCE)
        while data := os.read(pipe[0], 1 << 16).decode():
            got.append(data)
            if data.endswith("end\n"):
                return

    reading = threading.Thread(target=read)
    reading.start()
    for number in range(2000):
        outlet.write(LINE)
        if number == 1000:
            begin.set()
    outlet.close(PATIENCE)
    os.write(pipe[1], b"end\n")
    reading.join(PATIENCE)
    lines = "".join(got).splitlines(keepends=True)
    dropped = [int(line.partition("=")[2]) for line in lines if line.startswith("dropped=")]
    assert dropped, "there was room for all: the test proves nothing"
    assert lines.count(LINE) + sum(dropped) == 2000


def test_an_end_waits_for_a_stalled_reader_only_so_long(
    pipe: tuple[int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    outlet = Outlet(told)
    outlet.hand_over(pipe[1])
    for _ in range(100):
        outlet.write(LINE)
    outlet.close(0.1)
    outlet.write("too late\n")
    assert capsys.readouterr().err == ""
    assert os.read(pipe[0], 1 << 16).decode() == (LINE * 41)[:4096]


def test_a_reader_that_went_away_is_no_failure(capsys: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    outlet = Outlet(told)
    outlet.hand_over(writer)
    outlet.write(LINE)
    outlet.close(PATIENCE)
    os.close(writer)
    outlet.write("direct\n")
    assert capsys.readouterr().err == "direct\n"


FORKS = """
import os, sys
from tng_runtime.outlet import Outlet
outlet = Outlet(str)
outlet.hand_over(2)
for _ in range(100):
    outlet.write("x" * 99 + "\\n")
if (child := os.fork()) == 0:
    outlet.hand_over(2)
    outlet.write("child\\n")
    outlet.close(60)
    os._exit(0)
status = os.waitpid(child, 0)[1]
outlet.close(60)
os.write(2, b"end\\n")
sys.exit(status)
"""


def test_a_child_writes_for_itself_and_nothing_twice() -> None:
    """What is held at a fork is the parent's to write."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS], stderr=subprocess.PIPE, text=True, check=True, timeout=PATIENCE
    )
    assert done.stderr.count("x") == 99 * 100
    assert done.stderr.count("child\n") == 1
    assert done.stderr.endswith("end\n")


def test_what_a_full_disk_did_not_take_is_told_first(pipe: tuple[int, int]) -> None:
    outlet = Outlet(told)
    descriptor = os.open("/dev/full", os.O_WRONLY)
    outlet.hand_over(descriptor)
    for lost in (2, 3):
        outlet.write(LINE)
        if lost == 2:
            outlet.write(LINE)
        lose(outlet, lost)
    os.dup2(pipe[1], descriptor)
    outlet.write("at last\n")
    assert take(pipe[0], "at last\n") == "dropped=3\nat last\n"
    outlet.close(PATIENCE)
    os.close(descriptor)


def test_what_a_full_disk_did_not_take_is_told_though_nothing_follows(pipe: tuple[int, int]) -> None:
    outlet = Outlet(told)
    descriptor = os.open("/dev/full", os.O_WRONLY)
    outlet.hand_over(descriptor)
    outlet.write(LINE)
    lose(outlet, 1)
    os.dup2(pipe[1], descriptor)
    assert take(pipe[0], "\n") == "dropped=1\n"
    outlet.close(PATIENCE)
    assert outlet.lost == 1
    os.close(descriptor)
