"""The table, loaded, looked at and removed through libnftables.

The whole footprint on the host is one table, and one call of libnftables is one netlink transaction: the kernel
takes all of a ruleset or nothing of it (nft(8), "-f"). So a load replaces what an earlier or a killed run left
without a moment in between, and a load that fails leaves everything as it was.

Debian's binding is one file in a directory full of other packages. It is loaded from that file alone, so that
nothing else of the distribution's Python gets into the process, and only when it is needed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from tng_runtime.errors import HostError

BINDING = Path("/usr/lib/python3/dist-packages/nftables/nftables.py")

# Where nft looks for the paths of `socket cgroupv2` (nftables: src/datatype.c).
CGROUPS = Path("/sys/fs/cgroup")

# A cgroup of others may end between the look at it and nft's; it is rare, and each attempt looks again.
_ATTEMPTS = 20

# capabilities(7), linux/capability.h
_CAP_NET_ADMIN = 12

_NO_CGROUP = "cgroupv2 path fails"


class _Context(Protocol):
    def cmd(self, cmdline: str) -> tuple[int, str, str]: ...


def require_privileges() -> None:
    """Raise ``HostError`` unless this process may change the rules of its network namespace."""
    effective = next(
        line for line in Path("/proc/thread-self/status").read_text(encoding="ascii").splitlines() if "CapEff" in line
    )
    if not int(effective.split()[1], 16) >> _CAP_NET_ADMIN & 1:
        raise _not_permitted()


def load(ruleset: str, table: str, commands: Callable[[], str] = lambda: "") -> None:
    """Put ``ruleset``, which deletes and defines ``inet table``, in place of what is there, in one transaction.

    ``commands`` gives what else belongs into it; it is asked again if a cgroup that the ruleset does not name has ended
    meanwhile.
    Raises ``HostError``; then the rules on the host are what they were before.
    """
    require_privileges()
    context = _context()
    for _ in range(_ATTEMPTS):
        code, _, problem = context.cmd(ruleset.rstrip("\n") + "\n" + commands())
        if code == 0:
            return
        if _NO_CGROUP not in problem or _absent_cgroups(ruleset):
            break
    if _NO_CGROUP in problem:
        raise _no_cgroup(ruleset, table)
    raise _refused(f"table inet {table} was not loaded", problem)


def change(commands: str) -> bool:
    """Execute nft commands on a table that is there, in one transaction; False if a cgroup in them has ended.

    Raises ``HostError``. Then, and if it is False, nothing changed.
    """
    code, _, problem = _context().cmd(commands)
    if code != 0 and _NO_CGROUP not in problem:
        raise _refused("the table was not changed", problem)
    return code == 0


def remove(table: str) -> bool:
    """Delete ``inet table``; False if there was none. Raises ``HostError`` if the kernel does not allow it."""
    require_privileges()
    context = _context()
    if not _exists(context, table):
        return False
    code, _, problem = context.cmd(f"delete table inet {table}")
    if code != 0:
        raise _refused(f"table inet {table} was not removed", problem)
    return True


def exists(table: str) -> bool:
    """Whether this network namespace has ``inet table``. Raises ``HostError`` without CAP_NET_ADMIN."""
    require_privileges()
    return _exists(_context(), table)


def listing(table: str) -> str | None:
    """``inet table`` as nft prints it, counters included; None if there is none."""
    require_privileges()
    context = _context()
    return _query(context, f"list table inet {table}") if _exists(context, table) else None


def _exists(context: _Context, table: str) -> bool:
    return f"table inet {table}" in _query(context, "list tables inet").splitlines()


def _query(context: _Context, command: str) -> str:
    code, text, problem = context.cmd(command)
    if code != 0:
        raise _refused(f"`nft {command}` failed", problem)
    return text


def _context() -> _Context:
    """A context of its own for each call: its netlink socket belongs to the network namespace of this moment."""
    spec = importlib.util.spec_from_file_location("tng_libnftables", BINDING) if BINDING.is_file() else None
    if spec is None or spec.loader is None:
        raise HostError(f"the nftables binding is not at {BINDING}", hint="apt install python3-nftables")
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise HostError(f"libnftables cannot be loaded: {error}", hint="apt install libnftables1") from None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return cast("_Context", module.Nftables())


def _refused(what: str, problem: str) -> HostError:
    lines = [line.rstrip() for line in problem.splitlines() if line.strip() and line.strip(" ^~")]
    said = " | ".join(lines[:4])[:600] or "libnftables gave no reason"
    if "Operation not permitted" in problem:
        return _not_permitted()
    if "interval overlaps" in problem or "datatype mismatch" in problem:
        hint = "elements of a kept set do not fit the new rules: `nft list table` shows them, `tng down` drops them"
    elif "syntax error" in problem:
        hint = "this nft does not understand the ruleset: nftables 1.0.6 or newer is needed"
    else:
        hint = "nothing was changed; `nft -c -f ruleset.nft` repeats the check"
    return HostError(f"{what}: {said}", hint=hint)


def _no_cgroup(ruleset: str, table: str) -> HostError:
    missing = _absent_cgroups(ruleset) or ["one that ended meanwhile, again and again"]
    return HostError(
        f"table inet {table} was not loaded: no such cgroup below {CGROUPS}: {', '.join(missing)}",
        hint="start what runs in it first, or take it out of the configuration",
    )


def _absent_cgroups(ruleset: str) -> list[str]:
    # nft 1.0.6 says that a path failed, but of a ruleset of several lines it shows the wrong one.
    paths = sorted(set(re.findall(r'(?<!comment )"([^"\n]+)"', ruleset)))
    return [path for path in paths if not (CGROUPS / path).is_dir()]


def _not_permitted() -> HostError:
    return HostError(
        "no CAP_NET_ADMIN in this network namespace: the rules of the host cannot be changed",
        hint="run it as root (sudo), or in a container that was given NET_ADMIN",
    )
