"""The cgroups of this host, by path, in the sets of the tables, which hold ids; and what is done when they change.

A cgroup that is removed and made again has another id, and the rules refuse the captured destinations to every id of
the depths in question that they do not know. So nothing here keeps traffic safe; it makes refused traffic flow again.

One thing it could get wrong: to make a cgroup known and leave it out of the set of captured ones, because it was made
anew between two looks at the same path. nft looks up every path (stat(2)) in the order of the commands
(nftables: src/datatype.c, cgroupv2_type_parse), and of two cgroups with one path the first has ended before the second
begins. So known sets are filled first, and the sets of the entries after them, whose look is then never the older one.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel import nftables
from tng_runtime.kernel.inotify import Directories
from tng_runtime.manifest import CGROUP, Cgroups

_NAME = re.compile(CGROUP, re.ASCII)
_SETTLE_SECONDS = 0.1
_POLL_SECONDS = 1.0
_RETRY_SECONDS = (0.05, 30.0)


@dataclass(frozen=True, slots=True)
class View:
    """The cgroups down to some depth, path to inode number; ``unnameable`` are those that nft has no way to write.

    ``watched``: whether each directory that was looked into is watched.
    """

    inodes: Mapping[str, int]
    unnameable: frozenset[str] = frozenset()
    watched: bool = True


def look(root: Path, depth: int, directories: Directories | None = None) -> View:
    """Return the cgroups below ``root`` whose depth is at most ``depth``, and watch those that can get new children.

    A directory is watched before it is read, so what is made after this has looked is a change that is still to come.
    """
    inodes: dict[str, int] = {}
    unnameable: set[str] = set()
    watched = True
    parents = [""]
    for _ in range(depth):
        children: list[str] = []
        for parent in parents:
            try:
                if directories is not None:
                    directories.watch(root / parent)
            except FileNotFoundError:
                continue
            except OSError:
                watched = False
            for name, inode in _children(root / parent):
                path = f"{parent}/{name}" if parent else name
                if _NAME.fullmatch(name):
                    children.append(path)
                    inodes[path] = inode
                else:
                    unnameable.add(path)
        parents = children
    return View(inodes, frozenset(unnameable), watched)


def commands(table: str, cgroups: Cgroups, view: View) -> str:
    """Return the nft commands that make the sets of ``inet table`` hold what is in ``view``, known sets first."""
    wanted = [
        (known.set, [path for path in view.inodes if path.count("/") + 1 == known.level]) for known in cgroups.known
    ] + [(group.set, [path for path in group.paths if path in view.inodes]) for group in cgroups.sets]
    flushed = "".join(f"flush set inet {table} {name}\n" for name, _ in wanted)
    return flushed + "".join(
        f"add element inet {table} {name} {{ {', '.join(map(_quoted, paths))} }}\n" for name, paths in wanted if paths
    )


def require(cgroups: Cgroups, root: Path = nftables.CGROUPS) -> None:
    """Raise ``HostError`` unless ``root``, where nft looks, is the whole of a cgroup2 hierarchy.

    On a hybrid host cgroup2 is mounted below (/sys/fs/cgroup/unified); in a container ``root`` may be a part of the
    host's tree, whose depths the kernel counts otherwise (proc_pid_mountinfo(5): field 4 is what of it is mounted).
    """
    if not cgroups.sets:
        return
    text = Path("/proc/thread-self/mountinfo").read_text(encoding="utf-8", errors="replace")
    # (what of the file system, where, its type)
    mounts = [
        (*front.split()[3:5], back.split()[0])
        for front, _, back in (line.partition(" - ") for line in text.splitlines())
    ]
    visible = [mount for mount in mounts if mount[1] == str(root)][-1:]
    if visible == [("/", str(root), "cgroup2")]:
        return
    elsewhere = [f"{place} has {part}" for part, place, kind in mounts if kind == "cgroup2"]
    found = f"of cgroup2 {', '.join(elsewhere)}" if elsewhere else "cgroup2 is mounted nowhere"
    missing = absent(cgroups, root)
    named = f"; no such cgroup: {', '.join(missing)}" if missing else ""
    raise HostError(
        f"{root} is not the root of a cgroup2 hierarchy, and nft looks for cgroups nowhere else: {found}{named}",
        hint="boot with systemd.unified_cgroup_hierarchy=1, or capture by destination alone",
    )


def require_present(cgroups: Cgroups, root: Path = nftables.CGROUPS) -> None:
    """Raise ``HostError`` unless the cgroups that entries name are there, in a hierarchy as ``require`` wants it."""
    require(cgroups, root)
    if missing := absent(cgroups, root):
        raise HostError(
            f"no such cgroup below {root}: {', '.join(missing)}",
            hint="start what runs in it first, or take it out of the configuration",
        )


def absent(cgroups: Cgroups, root: Path = nftables.CGROUPS) -> list[str]:
    """Return the paths of ``cgroups`` that are not there."""
    return sorted({path for group in cgroups.sets for path in group.paths if not (root / path).is_dir()})


class Follower:
    """Keeps the sets of ``tables`` (inet) in step with the cgroups of the host."""

    def __init__(
        self,
        tables: Sequence[str],
        cgroups: Cgroups,
        root: Path = nftables.CGROUPS,
    ) -> None:
        self._tables, self._cgroups, self._root = tables, cgroups, root
        levels = [known.level for known in cgroups.known]
        levels += [path.count("/") + 1 for group in cgroups.sets for path in group.paths]
        self._depth = max(levels, default=0)
        self._done: View | None = None
        self._named: frozenset[str] = frozenset()

    def commands(self, table: str) -> str:
        """Look, and return the commands that belong into the transaction that loads ``table``.

        The first look counts as what all tables hold: a cgroup that a later one finds makes ``run`` refresh them all.
        """
        view = look(self._root, self._depth)
        if self._done is None:
            self._took(view)
        return commands(table, self._cgroups, view)

    def closed_commands(self, table: str) -> str:
        """``commands``, or nothing on a host that is not ready: then no cgroup is known, and all are refused."""
        try:
            require(self._cgroups, self._root)
        except HostError:
            return ""
        return self.commands(table)

    async def run(self, change: Callable[[str], bool] = nftables.change) -> None:
        """Follow the changes until it is cancelled; a failure is logged and tried again, and opens nothing.

        ``change`` executes nft commands in one transaction, like ``nftables.change``, and has the right to.
        """
        if not self._depth:
            return
        directories = None
        try:
            directories = Directories()
        except OSError as error:
            log.error("cgroup_watch_failed", reason=error.strerror, instead=f"looks every {_POLL_SECONDS} s")
        try:
            await self._follow(directories, change)
        finally:
            if directories is not None:
                directories.close()

    async def _follow(self, directories: Directories | None, change: Callable[[str], bool]) -> None:
        pause, longest = _RETRY_SECONDS
        watched = directories is not None
        while True:
            if directories is not None:
                directories.drain()
            try:
                view = look(self._root, self._depth, directories)
                done = self._refresh(view, change)
            except HostError as error:
                log.error("cgroups_not_refreshed", reason=error.message, next_attempt_seconds=pause)
                await anyio.sleep(pause)
                pause = min(2 * pause, longest)
                continue
            pause = _RETRY_SECONDS[0]
            if watched and not view.watched:
                log.error("cgroup_watch_failed", reason="no more watches", instead=f"looks every {_POLL_SECONDS} s")
            watched = directories is not None and view.watched
            # Starting one container makes many cgroups: what follows at once is taken together.
            await anyio.sleep(_SETTLE_SECONDS)
            if not done:
                continue
            with anyio.move_on_after(None if watched else _POLL_SECONDS):
                await (anyio.sleep_forever() if directories is None else anyio.wait_readable(directories))

    def _refresh(self, view: View, change: Callable[[str], bool]) -> bool:
        """Write ``view`` down unless it is what was written last; False if it has become old meanwhile."""
        if self._done is not None and self._done.inodes == view.inodes:
            return True
        if not change("".join(commands(table, self._cgroups, view) for table in self._tables)):
            return False
        self._took(view)
        return True

    def _took(self, view: View) -> None:
        before = self._done.inodes if self._done else {}
        for path in sorted(view.unnameable - self._named):
            log.warning("cgroup_not_nameable", cgroup=path, meaning="it reaches nothing that is captured")
        for path in sorted({path for group in self._cgroups.sets for path in group.paths}):
            if path in before and path not in view.inodes:
                log.warning("cgroup_gone", cgroup=path)
            elif self._done and path in view.inodes and view.inodes[path] != before.get(path):
                log.info("cgroup_back", cgroup=path)
        self._named, self._done = view.unnameable, view


def _children(directory: Path) -> list[tuple[str, int]]:
    """The directories in ``directory``; none if it is being removed."""
    try:
        with os.scandir(directory) as entries:
            return [(entry.name, entry.inode()) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENODEV}:
            return []
        raise HostError(f"{directory}: {error.strerror}", hint="nothing of it becomes known until then") from None


def _quoted(path: str) -> str:
    # nft has no escape character: a path of other characters never gets here.
    assert all(_NAME.fullmatch(name) for name in path.split("/"))
    return f'"{path}"'
