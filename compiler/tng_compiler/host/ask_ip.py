"""``ip``, asked for JSON: links, addresses, routes and rules of this network namespace."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from typing import Any


def asked(*words: str) -> list[dict[str, Any]]:
    """What ``ip`` says, nothing if it cannot. /sys/class/net is of the network namespace in which it was mounted."""
    environment = {"LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with suppress(OSError, subprocess.TimeoutExpired, ValueError):
        command = ["ip", "-json", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
        found = json.loads(done.stdout or "[]")
        return [item for item in found if item] if isinstance(found, list) else []
    return []
