"""Programs of this host, asked in English wherever they are: nft, ip, ipset."""

from __future__ import annotations

import os
import subprocess

_DEADLINE = 60.0


def run(*command: str, stdin: str = "") -> subprocess.CompletedProcess[str] | None:
    """Run a command; None if there is no such program, or if it does not end."""
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            env=environment,
            timeout=_DEADLINE,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
