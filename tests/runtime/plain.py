"""Tests that run a program as a plain user need a checkout that such a user can read."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

reads_checkout = pytest.mark.skipif(
    not all(each.stat().st_mode & 0o001 for each in ROOT.parents),
    reason="NOT TESTED: plain users cannot enter the directory of this checkout",
)
