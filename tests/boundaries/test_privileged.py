"""Privileged tests do not pass by being skipped: the flag of the test command turns their skips into failures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROBE = "tests/demo/test_lab.py::test_two_hosts_reach_each_other_in_both_families"


def run_without_root(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    (tmp_path / "not_root.py").write_text("import os\nos.geteuid = lambda: 1000\n")
    argv = [sys.executable, "-m", "pytest", "-p", "not_root", "-p", "no:cacheprovider", *flags, PROBE]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTHONPATH"] = str(tmp_path)
    return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("flags", "status", "outcome"), [((), 0, "1 skipped"), (("--require-netns",), 1, "not root")])
def test_without_root_a_privileged_test_is_skipped_or_failed(
    tmp_path: Path, flags: tuple[str, ...], status: int, outcome: str
) -> None:
    done = run_without_root(tmp_path, *flags)
    assert done.returncode == status, done.stdout
    assert outcome in done.stdout
    assert " passed" not in done.stdout
