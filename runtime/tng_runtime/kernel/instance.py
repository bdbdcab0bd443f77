"""One run per table and network namespace.

The lock is a flock(2) on a file that only the owner of the run may open, in a directory that only the owner may write
to: another local user can neither hold it nor prevent it. The kernel drops it when the run dies, however it dies. The
name of the file carries the inode of the network namespace, because rules belong to namespaces and not to file systems.

Every run leaves its tables behind on purpose: the rules keep refusing what they captured. The next start replaces
them, ``guard`` loads them before it, and ``down`` removes them. A live run is the business of neither: taking the
rules from under it would let captured traffic pass in plaintext.

The directory of the locks also holds the documents that ``tng apply`` compiled for its run, by table and process id.
They go with their run; those of a killed one go with the next run or with ``down``, so that nothing stays on the host.
A run that was started on the documents of an earlier one (SIGHUP) needs them too: a link by its own process id says so.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel import captured, cgroups, ipsets, leftovers, nftables, way_back
from tng_runtime.kernel.owned import OwnedTable
from tng_runtime.kernel.places import require_shared, run_directory
from tng_runtime.manifest import Bundle
from tng_schema import contract

LOCKS = run_directory()
RETRY_SECONDS, PATIENCE_SECONDS = 0.01, 1.0
_FULL = (errno.ENOSPC, errno.EDQUOT)


class TakenError(HostError):
    """Another run holds the lock."""


class Lock:
    """The lock of ``table`` in this network namespace, and what else belongs to its holder in ``locks``.

    At the end of the block the lock, unless it was handed over, and the compiled documents of the run,
    ``locks``/``table``.``pid``, are removed.
    """

    def __init__(self, table: str, locks: Path = LOCKS) -> None:
        # thread-self: a thread can be in another network namespace than its process (setns(2)).
        namespace = Path("/proc/thread-self/ns/net").stat().st_ino
        self._table, self._locks = table, locks
        self._path = locks / contract.lock_name(table, namespace)
        self.socket_path = locks / f"{table}.{namespace}.sock"
        """Where the holder is asked to hand over."""
        self.descriptor: int | None = None
        self._handed_over = False

    def __enter__(self) -> Lock:
        return self

    def __exit__(self, *_: object) -> None:
        _discard_documents(self._table, self._locks)
        if self.descriptor is not None:
            self.socket_path.unlink(missing_ok=True)
            self._path.unlink(missing_ok=True)
            os.close(self.descriptor)
        if self.descriptor is not None or self._handed_over:
            with contextlib.suppress(OSError):
                self._locks.rmdir()

    def acquire(self) -> None:
        """Be the holder; raises ``TakenError``, or ``HostError`` if others can write to the directory, or it is full.

        Locks that nobody holds, of network namespaces that are gone above all, are removed.
        """
        self.descriptor = _acquire(self._path, self._table)
        leftovers.remove(self._path)

    def adopt(self, descriptor: int) -> None:
        """Be the holder by the open file of who held it before; raises ``HostError`` if it cannot be written to."""
        self.descriptor = descriptor
        _sign(descriptor)

    def keep(self, directory: Path) -> None:
        """This process needs ``directory``, also when it was compiled for another run and that one ends.

        Raises ``HostError`` if that cannot be written down.
        """
        own = self._locks / f"{self._table}.{os.getpid()}"
        if directory.absolute().parent == self._locks and _owner(directory, self._table) and directory.name != own.name:
            try:
                own.unlink(missing_ok=True)
                own.symlink_to(directory.name)
            except OSError as error:
                raise HostError(f"{own}: {error.strerror}", hint=_room(self._locks)) from None

    def sign(self) -> None:
        """Say once more that this process is the holder, after another has said so and ended."""
        assert self.descriptor is not None
        _sign(self.descriptor)

    def hand_over(self) -> None:
        """Another process has the open file by now: it is the holder."""
        assert self.descriptor is not None
        os.close(self.descriptor)
        self.descriptor = None
        self._handed_over = True


@contextlib.contextmanager
def hold(table: str, locks: Path = LOCKS) -> Iterator[None]:
    """Be the only run of ``table`` in this network namespace.

    Raises ``HostError`` with the process id of the one that runs already, or if others can write to ``locks``.
    """
    with Lock(table, locks) as lock:
        lock.acquire()
        yield


def down(table: str, locks: Path = LOCKS) -> bool:
    """End what was captured and remove the tables that a run left; False if there are none.

    Raises ``HostError`` while a run is alive.
    """
    if not nftables.permitted() and any(locks.glob(f"{table}.*")):
        with hold(table, locks):  # of a run of doors alone: there are no rules
            return False
    nftables.require_privileges()
    require_shared()
    with hold(table, locks):
        captured.end(table)
        removed = nftables.remove(table, f"{table}{contract.GUARD_SUFFIX}")
        return way_back.keep(table, None) or removed


def guard(bundle: Bundle, locks: Path = LOCKS) -> None:
    """Load the ruleset and serve nothing: what it captures is refused until a run starts.

    It is for the boot, before there is a network, an agent or the cgroups that the configuration names: one that is
    not there yet is unknown to the rules, and refused what is captured. Raises ``HostError``: while a run lives, and
    for an ipset that is not there, after the rest of the rules was loaded.
    """
    manifest = bundle.manifest
    nftables.require_privileges()
    require_shared()
    with hold(manifest.table, locks):
        nftables.require_alone(manifest.table)
        tables = (manifest.table, manifest.guard_table)
        follower = cgroups.Follower(tables, manifest.cgroups)
        addresses = ipsets.Follower(tables, manifest.ipsets)

        def fill(table: str) -> str:
            return addresses.commands(table) + follower.closed_commands(table)

        try:
            addresses.start()
        finally:
            nftables.load(bundle.ruleset, manifest.table, lambda: fill(manifest.table))
            _replace_guard(bundle, lambda: fill(manifest.guard_table))
    log.info(
        "guarding",
        table=manifest.table,
        meaning="captured traffic is refused until the runtime runs",
        opens=down_command(manifest.table),
        unknown_cgroups=", ".join(cgroups.absent(manifest.cgroups)) or None,
    )


def _replace_guard(bundle: Bundle, fill: Callable[[], str]) -> None:
    """Where a run that is gone has left its guard, that of another document may refuse what this one does not name."""
    if nftables.exists(bundle.manifest.guard_table):
        guard = OwnedTable(bundle.manifest.guard_table)
        try:
            guard.replace(bundle.guard, fill)
        finally:
            guard.close()


def forget(directory: Path, locks: Path = LOCKS) -> None:
    """Remove ``directory`` if it was compiled for this process alone."""
    if directory.parent == locks and directory.name.endswith(f".{os.getpid()}") and not directory.is_symlink():
        shutil.rmtree(directory, ignore_errors=True)
        with contextlib.suppress(OSError):  # others have something there
            locks.rmdir()


def down_command(table: str) -> str:
    """Return the command that removes the rules of a table, by the program that this host has."""
    program = "tng" if shutil.which("tng") or Path(sys.executable).with_name("tng").exists() else "tng-runtime"
    return f"{program} down" if table == "tng" else f"{program} down --table {table}"


def _discard_documents(table: str, locks: Path) -> None:
    """Remove what was compiled for this process, and for processes that are gone, unless another one needs it;
    and the status sockets of those that are gone."""
    named = [path for path in locks.glob(f"{table}.*") if _owner(path, table)]
    ended = [path for path in named if (owner := _owner(path, table)) == str(os.getpid()) or not _lives(owner)]
    needed = {os.readlink(path) for path in named if path.is_symlink() and path not in ended}
    for path in ended:
        if path.is_symlink():
            path.unlink(missing_ok=True)
        elif path.name not in needed:
            shutil.rmtree(path, ignore_errors=True)
    for path in locks.glob(f"{table}.*{contract.STATUS_SUFFIX}"):
        owner = path.name.removesuffix(contract.STATUS_SUFFIX).rpartition(".")[2]
        if owner.isdecimal() and (owner == str(os.getpid()) or not _lives(owner)):
            path.unlink(missing_ok=True)


def _owner(directory: Path, table: str) -> str:
    """The process id in the name of a directory of documents; nothing if it is none."""
    owner = directory.name.removeprefix(f"{table}.")
    return owner if owner.isdecimal() and directory.name != owner else ""


def _lives(process: str) -> bool:
    return Path("/proc", process).exists()


def _acquire(path: Path, table: str) -> int:
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        _private(path.parent)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileNotFoundError:  # another run has just removed the empty directory
            continue
        except OSError as error:
            hint = _room(path.parent) if error.errno in _FULL else f"rm -r {path.parent}, if no run is alive"
            raise HostError(f"{path}: {error.strerror}", hint=hint) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").partition("\n")[0]
            os.close(descriptor)
            if time.monotonic() < patience and not (holder.isdecimal() and _lives(holder)):
                # Nobody's run: it is being removed, or whoever holds it has not signed yet.
                time.sleep(RETRY_SECONDS)
                continue
            raise _taken(table, holder) from None
        # The file that was opened may have been unlinked by its last holder in between; then it locks nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                try:
                    _sign(descriptor)
                except HostError:
                    path.unlink(missing_ok=True)
                    os.close(descriptor)
                    raise
                return descriptor
        os.close(descriptor)


def _sign(descriptor: int) -> None:
    # The first line is somebody's number at any time.
    line = f"{os.getpid()}\n".encode()
    try:
        os.pwrite(descriptor, line, 0)
        os.ftruncate(descriptor, len(line))
    except OSError as error:
        raise HostError(f"the lock of this run: {error.strerror}", hint=_room(LOCKS)) from None


def _room(directory: Path) -> str:
    return f"make room in the file system of {directory} (`df -h {directory}`, `df -i {directory}`)"


def _private(directory: Path) -> None:
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        found = directory.lstat()
    except FileNotFoundError as error:
        if not directory.parent.is_dir():
            raise HostError(f"{directory}: {error.strerror}", hint=f"make {directory.parent} first") from None
        return
    except OSError as error:
        raise HostError(
            f"{directory}: {error.strerror}", hint=f"make {directory} for this user, mode 0700, or run as root"
        ) from None
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise HostError(
            f"{directory} is not a directory that this user alone can write to: others could hold the lock of this run",
            hint=f"make it owned by user {os.geteuid()} with mode 0700, or remove it",
        )


def _taken(table: str, holder: str) -> TakenError:
    who = f"process {holder}" if holder.isdecimal() else "another process"
    stop = f"`kill -TERM {holder}`" if holder.isdecimal() else "stop it"
    return TakenError(
        f"table inet {table} of this network namespace is already run by {who}",
        hint=f"{stop} lets it drain; a second instance needs a table name of its own",
    )
