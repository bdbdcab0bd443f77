"""Limits from the memory there is, and the share of handshakes that a source may have."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tng_runtime.accept import limits
from tng_runtime.accept.limits import Handshakes, Limits, choose
from tng_runtime.errors import LinkCode, Refused
from tng_runtime.events import Event, LimitLeft, LimitReached

GIB = 1 << 30


def test_the_memory_there_is_bounds_strangers_and_the_open_files_do() -> None:
    assert choose(None, None, 1, GIB, 1 << 20) == Limits(GIB // 4 // (62 << 10), GIB // 16 // (53 << 10))
    assert choose(None, None, 4, GIB, 1 << 20) == Limits(1057, 309)
    assert choose(None, None, 1, GIB, 1024) == Limits(448, 448)
    assert choose(None, None, 1, 0, 1024) == Limits(1, 1)


def test_what_is_asked_for_is_shared_out_among_the_workers() -> None:
    assert choose(100, 10, 4, 0, 1024) == Limits(25, 3)
    assert choose(10, 100, 4, GIB, 1024) == Limits(3, 3)


def test_the_open_files_are_raised_to_their_hard_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        assert limits.open_files() == hard
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_cgroup_above_ours_may_have_less_than_the_host(tmp_path: Path) -> None:
    """Files as the kernel writes them."""
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    group = root / "system.slice/tng.service"
    (proc / "self").mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:    4096 kB\n")
    assert limits.available_memory(proc, root) == 4096 << 10
    (proc / "self/cgroup").write_text("0::/system.slice/tng.service\n")
    (group / "memory.max").write_text("max\n")
    assert limits.available_memory(proc, root) == 4096 << 10
    (group.parent / "memory.max").write_text("1000000\n")
    (group.parent / "memory.current").write_text("400000\n")
    assert limits.available_memory(proc, root) == 600_000


def test_this_host_says_how_much_it_has() -> None:
    assert 0 < limits.available_memory() < 1 << 50


def begun(handshakes: Handshakes, source: str | None) -> int:
    """How many more ``source`` may begin."""
    count = 0
    while count < 10_000:
        try:
            handshakes.begin(source)
        except Refused as refused:
            assert refused.code is LinkCode.NET_BUSY  # noqa: PT017
            break
        count += 1
    return count


def test_a_source_has_half_of_what_the_others_leave() -> None:
    handshakes = Handshakes(64, lambda _: None)
    assert [begun(handshakes, f"10.0.0.{number}") for number in range(7)] == [32, 16, 8, 4, 2, 1, 1]
    assert begun(handshakes, "10.0.0.9") == 0
    handshakes.end("10.0.0.0")
    assert begun(handshakes, "10.0.0.9") == 1


def test_this_host_has_all_that_is_left() -> None:
    handshakes = Handshakes(64, lambda _: None)
    assert begun(handshakes, "10.0.0.1") == 32
    assert begun(handshakes, None) == 32


def test_the_limit_is_said_when_it_is_reached_and_when_it_is_left() -> None:
    told: list[Event] = []
    handshakes = Handshakes(8, told.append)
    for _ in range(3):
        assert begun(handshakes, "10.0.0.1") in (4, 0)
    assert [type(event) for event in told] == [LimitReached]
    for _ in range(4):
        handshakes.end("10.0.0.1")
    assert told[1:] == [LimitLeft("handshakes", 3)]
    assert not handshakes._sources


@pytest.mark.parametrize("source", ["10.0.0.1", None])
def test_nothing_is_kept_of_who_has_gone(source: str | None) -> None:
    handshakes = Handshakes(8, lambda _: None)
    for _ in range(100):
        handshakes.begin(source)
        handshakes.end(source)
    assert handshakes._under_way == 0
    assert not handshakes._sources
