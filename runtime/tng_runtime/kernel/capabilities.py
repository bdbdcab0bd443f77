"""What this thread may do (capabilities(7))."""

from __future__ import annotations

import re
from pathlib import Path

# linux/capability.h
CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_ADMIN, CAP_NET_RAW = 5, 6, 7, 12, 13


def effective() -> int:
    """The capabilities of this thread, as a set of bits."""
    status = Path("/proc/thread-self/status").read_text(encoding="ascii")
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return int(found[1], 16) if found else 0
