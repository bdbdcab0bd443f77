"""The documented soak, for seconds instead of minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.netns


def test_mixed_traffic_loses_no_byte_and_leaves_nothing_open() -> None:
    argv = [sys.executable, "-m", "bench.soak", "--seconds", "10", "--connections", "28"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=110)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["nothing is wrong"]), done.stdout + done.stderr
