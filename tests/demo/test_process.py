"""Programs awaited by what they write and by their end, never by time."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

import pytest

from tng_demo.process import Process, ProcessError


def start(tmp_path: Path, script: str) -> Process:
    return Process.start(["sh", "-c", script], tmp_path / "log")


def test_a_line_is_awaited_and_its_groups_returned(tmp_path: Path) -> None:
    process = start(tmp_path, "echo first; read line </dev/null; echo port=8080 >&2; exec sleep 100")
    try:
        assert process.wait_for(r"^port=(\d+)$")[1] == "8080"
        assert process.output() == "first\nport=8080\n"
        assert process.alive()
    finally:
        assert process.stop() == -signal.SIGTERM


def test_an_early_end_is_told_with_the_output(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match=r"ended with 3 .*\nno such thing"):
        start(tmp_path, "echo no such thing; exit 3").wait_for("ready")


def test_a_line_written_just_before_the_end_is_found(tmp_path: Path) -> None:
    process = start(tmp_path, "echo ready; exit 0")
    assert process.wait_for("ready")[0] == "ready"
    assert process.wait() == 0
    assert process.wait_for("ready")[0] == "ready"


def test_silence_ends_at_the_deadline(tmp_path: Path) -> None:
    process = start(tmp_path, "exec sleep 100")
    try:
        with pytest.raises(ProcessError, match=r"within 0\.05 s"):
            process.wait_for("ready", deadline=0.05)
    finally:
        process.kill()


def test_stop_kills_what_ignores_sigterm_and_what_it_started(tmp_path: Path) -> None:
    process = start(tmp_path, "trap '' TERM; sleep 100 & echo child=$!; wait; wait")
    child = os.pidfd_open(int(process.wait_for(r"child=(\d+)")[1]))
    assert process.stop(timeout=0.05) == -signal.SIGKILL
    assert select.select([child], [], [], 10)[0]
    os.close(child)
