"""The peer: the Rust TNG's public binary, fetched once and pinned by its digest."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def peer() -> Path:
    """The program. Without a network and without a copy from before the tests that need it are skipped."""
    fetched = subprocess.run(
        [ROOT / "scripts" / "fetch-peer"], capture_output=True, text=True, check=False, timeout=100
    )
    if fetched.returncode != 0:
        pytest.skip(f"the Rust TNG could not be fetched: {fetched.stderr.strip()}")
    return Path(fetched.stdout.strip())
