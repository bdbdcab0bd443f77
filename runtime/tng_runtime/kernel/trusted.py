"""Whether others can write to a directory whose content is executed with our privileges.

Every directory on the way counts, those of symbolic links too: whoever can rename one of them chooses what lies below.
In a directory with the sticky bit, such as /tmp, only the owner of an entry can (inode(7)).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from tng_runtime.errors import HostError

_MAX_LINKS = 40  # as many as the kernel follows (path_resolution(7))


def require(directory: Path, files: Iterable[str]) -> None:
    """Raise ``HostError`` if anybody but root and this user can change ``directory``, its ``files`` or the way there.

    What is not there is passed over: reading it says so.
    """
    for name in ("", *files):
        way = list(_way((directory / name).absolute()))
        for place, (path, status) in enumerate(way, 1):
            if problem := _problem(status, final=place == len(way)):
                raise HostError(
                    f"{directory} is executed, and others can change it: {path} {problem}",
                    hint=f"chown root {path} && chmod go-w {path}, or compile into a directory of root's own",
                )


def _problem(status: os.stat_result, *, final: bool) -> str | None:
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to user {status.st_uid}"
    sticky = status.st_mode & stat.S_ISVTX and status.st_uid == 0 and not final
    if stat.S_ISLNK(status.st_mode) or not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or sticky:
        return None
    return f"has mode {stat.S_IMODE(status.st_mode):04o}"


def _way(target: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Yield each directory, link and file that the kernel meets on its way to ``target``; nothing if that is absent."""
    found: list[tuple[Path, os.stat_result]] = [(Path("/"), os.lstat("/"))]
    current, left, links = Path("/"), list(target.parts[1:]), 0
    try:
        while left and links <= _MAX_LINKS:
            if (name := left.pop(0)) == "..":
                current = current.parent
                continue
            entry = current / name
            found.append((entry, entry.lstat()))
            if not entry.is_symlink():
                current = entry
                continue
            links += 1
            way = entry.readlink()
            current = Path("/") if way.is_absolute() else current
            left = [part for part in way.parts if part != "/"] + left
    except OSError:
        return
    yield from found
