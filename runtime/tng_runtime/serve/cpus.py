"""How many processors this process may use: its affinity, and the quota of its cgroups."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable(cgroups: Path = CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> int:
    """At least 1; a part of a processor counts as one (sched(7), and cgroup v2: ``cpu.max``)."""
    found = float(len(os.sched_getaffinity(0)))
    for line in membership.read_text(encoding="utf-8", errors="replace").splitlines():
        # "0::/path" is the one of cgroup v2 (cgroups(7)).
        if line.startswith("0::/"):
            here = cgroups / line.removeprefix("0::/")
            for directory in (here, *here.parents):
                if directory.is_relative_to(cgroups):
                    found = min(found, _quota(directory / "cpu.max"))
    return max(1, math.ceil(found))


def _quota(path: Path) -> float:
    try:
        quota, period = path.read_text(encoding="ascii").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
