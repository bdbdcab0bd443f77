"""Where a run has what belongs to it."""

from __future__ import annotations

import os
from pathlib import Path

from tng_schema import contract


def run_directory() -> Path:
    """Where this user's runs have their locks."""
    try:
        owner = Path(contract.RUN_DIRECTORY).stat().st_uid
    except OSError:
        owner = None
    return Path(contract.run_directory(os.geteuid(), owner, os.environ.get("XDG_RUNTIME_DIR")))
