"""How many processors there are to use, from files like those of the kernel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tng_runtime.serve import cpus


@pytest.mark.parametrize(
    ("outer", "inner", "expected"),
    [
        ("max 100000", "max 100000", 8),
        ("max 100000", "60000 100000", 1),
        ("150000 100000", "max 100000", 2),
        ("200000 100000", "400000 100000", 2),
        ("1600000 100000", "max 100000", 8),
        ("nonsense", "", 8),
        ("100 0", "1 2 3", 8),
    ],
)
def test_a_quota_counts_wherever_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outer: str, inner: str, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "a.slice" / "b").mkdir(parents=True)
    (tmp_path / "a.slice" / "cpu.max").write_text(outer)
    (tmp_path / "a.slice" / "b" / "cpu.max").write_text(inner)
    (tmp_path / "self").write_text("5:cpu:/elsewhere\n0::/a.slice/b\n")
    assert cpus.usable(tmp_path, tmp_path / "self") == expected


def test_the_affinity_counts() -> None:
    assert 1 <= cpus.usable() <= len(os.sched_getaffinity(0))
