"""The documented soak for two minutes instead of twenty, with pauses: it leaves other tests the processors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# It is begun among the first: what takes longest must not be left for the end.
pytestmark = [pytest.mark.netns, pytest.mark.timeout(400)]


def test_two_minutes_of_mixed_traffic_lose_no_byte_and_leave_nothing_open() -> None:
    argv = [sys.executable, "-m", "bench.soak", "--seconds", "120", "--connections", "100", "--pause", "2"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=380)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["nothing is wrong"]), done.stdout + done.stderr
