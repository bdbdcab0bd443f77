"""``ip``, asked for JSON: links, addresses, routes and rules of this network namespace."""

from __future__ import annotations

import json
from typing import Any

from tng_compiler.host import program


def asked(*words: str) -> list[dict[str, Any]]:
    """What ``ip`` says, nothing if it cannot. /sys/class/net is of the network namespace in which it was mounted."""
    done = program.run("ip", "-json", *words)
    try:
        found = json.loads(done.stdout or "[]") if done is not None else []
    except ValueError:
        return []
    return [item for item in found if item] if isinstance(found, list) else []
