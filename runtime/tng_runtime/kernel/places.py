"""Where a run has what belongs to it."""

from __future__ import annotations

import os
from pathlib import Path

from tng_runtime.errors import HostError
from tng_schema import contract


def run_directory() -> Path:
    """Where this user's runs have their locks."""
    try:
        owner = Path(contract.RUN_DIRECTORY).stat().st_uid
    except OSError:
        owner = None
    return Path(contract.run_directory(os.geteuid(), owner, os.environ.get("XDG_RUNTIME_DIR")))


def require_shared() -> None:
    """Raise ``HostError`` unless the locks are where every run with rules looks for them."""
    if run_directory() != (shared := Path(contract.RUN_DIRECTORY)):
        raise HostError(
            f"{shared} is not this user's: a run with rules has its lock there, so that there is one of each table",
            hint=f"make {shared} for user {os.geteuid()}, mode 0700, or run as root",
        )
