"""The stage's own instruments."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostile.stage import Log


@pytest.fixture
def _threads_take_turns_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_threads_take_turns_often")
def test_no_line_is_lost_or_read_twice_by_threads(tmp_path: Path) -> None:
    """While it grows; without a lock one of them reads past what the other is about to read."""
    path = tmp_path / "log"
    path.touch()
    log = Log(path)
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            log.read()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    with path.open("a", encoding="utf-8") as file:
        for number in range(5000):
            file.write(f'{{"number": {number}}}\n')
            file.flush()
    over.set()
    for reader in readers:
        reader.join()
    assert [line["number"] for line in log.read()] == list(range(5000))
