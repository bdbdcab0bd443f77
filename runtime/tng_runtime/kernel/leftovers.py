"""Locks that nobody holds, of other instances and network namespaces: most are of namespaces that are gone, in which
nobody will start any more who would take them away.

Whether a namespace is gone cannot be asked for: a process with more capabilities than ours does not let us look. But an
open file of a lock that is held is held whoever looks, and one that is not held says nothing. The number of a namespace
is given out anew, so what is left of a gone one would some day be taken for a live one's.
"""

from __future__ import annotations

import fcntl
import os
import re
from pathlib import Path

_LOCK = re.compile(r"tng(?:_[a-z0-9_]{1,32})?\.\d{1,20}\.lock", re.ASCII)


def remove(own: Path) -> list[str]:
    """Remove the locks beside ``own``, and their sockets, that nobody holds; the names of the locks.

    Whoever wants to hold one at that moment waits for a moment (``instance``).
    """
    found = sorted(path for path in own.parent.iterdir() if path != own and _LOCK.fullmatch(path.name))
    return [path.name for path in found if _removed(path)]


def _removed(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Somebody may have removed it before, and another one made it anew.
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            return False
        path.with_suffix(".sock").unlink(missing_ok=True)
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
