"""Whether the services behind an egress listen in the cgroups that its entry names.

The rules look at the cgroup of the listening socket, and a socket keeps the one in which it was made (cgroups(7), and
kernel: sock_cgroup_data). One that systemd made for a unit (socket activation), or that a process made before it was
moved, is in another one: what it accepts goes past the tunnel, and nothing shows that from outside. So it is looked at
once, when the rules are loaded; the listening sockets come from the kernel by sock_diag(7).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tng_runtime import log
from tng_runtime.kernel import diag, nftables
from tng_runtime.manifest import ServiceCgroups

# More of a kind tells nobody more.
_MOST = 8


def warn(services: Sequence[ServiceCgroups], root: Path = nftables.CGROUPS) -> None:
    """Log each socket that listens on a captured port of an entry, in a cgroup that the entry does not capture."""
    if not services:
        return
    try:
        found = list(diag.listening())
    except OSError as error:
        log.warning("listeners_not_seen", reason=error.strerror, meaning="their cgroups are not compared")
        return
    paths: dict[int, str] = {}
    for service in services:
        there = [one for one in found if any(first <= one[0][1] <= last for first, last in service.ports)]
        paths = paths or (_paths(root) if there else {})
        strangers = [one for one in there if not _inside(paths.get(one[1]), service.paths)]
        for (address, port), cgroup in strangers[:_MOST]:
            log.warning(
                "listener_in_other_cgroup",
                entry=service.entry,
                port=port,
                address=address,
                cgroup=paths.get(cgroup, "one that has ended"),
                captured=", ".join(service.paths),
                meaning="what it accepts is not captured: a socket keeps the cgroup in which it was made",
                advice="start the service in its cgroup and let it make its own sockets, or capture without cgroup",
            )
        if len(strangers) > _MOST:
            log.warning("listener_in_other_cgroup", entry=service.entry, more=len(strangers) - _MOST)


def _inside(path: str | None, captured: Sequence[str]) -> bool:
    return path is not None and any(path == one or path.startswith(f"{one}/") for one in captured)


def _paths(root: Path) -> dict[int, str]:
    """The cgroups of this host by inode number; the root itself is ``/``."""
    found = {}
    for directory, _, _ in os.walk(root):
        try:
            found[os.stat(directory).st_ino] = os.path.relpath(directory, root) if directory != str(root) else "/"
        except FileNotFoundError:
            continue
    return found
