"""Where runs of this user have what belongs to them, and where the documents that were applied are kept."""

from __future__ import annotations

import os
from pathlib import Path

from tng_schema import contract


def run_directory() -> Path:
    """Where this user's runs have their locks, and the documents that ``apply`` compiles for them."""
    try:
        owner = Path(contract.RUN_DIRECTORY).stat().st_uid
    except OSError:
        owner = None
    return Path(contract.run_directory(os.geteuid(), owner, os.environ.get("XDG_RUNTIME_DIR")))


def state_directory() -> Path:
    """Where the documents of all instances are kept; systemd names another one in STATE_DIRECTORY (systemd.exec(5)).

    A user without privileges has them in his own state directory (XDG_STATE_HOME), or beside his locks if he has none.
    """
    if named := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(named)
    if run_directory() == Path(contract.RUN_DIRECTORY):
        return Path(contract.STATE_DIRECTORY)
    home = os.environ.get("HOME", "")
    state = os.environ.get("XDG_STATE_HOME") or (f"{home}/.local/state" if os.access(home or "/", os.W_OK) else "")
    return Path(state, "tng") if state.startswith("/") else run_directory() / "state"
