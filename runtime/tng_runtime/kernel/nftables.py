"""The tables, loaded, looked at and removed through libnftables.

One call of libnftables is one netlink transaction: the kernel takes all of a ruleset or nothing of it (nft(8), "-f").
So a load replaces what an earlier or a killed run left without a moment in between, and a load that fails leaves
everything as it was. Calls without a context make one: its netlink socket belongs to the namespace of the moment.

Debian's binding is one file in a directory full of other packages. It is loaded from that file alone, so that
nothing else of the distribution's Python gets into the process, and only when it is needed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, cast

from tng_runtime.errors import HostError
from tng_runtime.kernel import capabilities
from tng_schema import contract

BINDING = Path(contract.NFT_BINDING)

# Where nft looks for the paths of `socket cgroupv2` (nftables: src/datatype.c).
CGROUPS = Path("/sys/fs/cgroup")

# A cgroup of others may end between the look at it and nft's; it is rare, and each attempt looks again.
_ATTEMPTS = 20

_COUNTER = re.compile(r"^\tcounter (\S+) \{[^}]*?\bpackets (\d+) bytes \d+\n\t\}$", re.MULTILINE)

_NO_CGROUP = "cgroupv2 path fails"


class Context(Protocol):
    """A context of libnftables with its netlink socket."""

    def cmd(self, cmdline: str) -> tuple[int, str, str]:
        """Execute commands; the exit status, what they print, and what went wrong."""
        ...

    def set_output(self, flag: str, *, on: bool) -> None:
        """Set a flag of its output (libnftables(3))."""
        ...


def permitted() -> bool:
    """Whether this process may change the rules of its network namespace."""
    return bool(capabilities.effective() >> capabilities.CAP_NET_ADMIN & 1)


def require_privileges() -> None:
    """Raise ``HostError`` unless this process may change the rules of its network namespace."""
    if not permitted():
        raise _not_permitted()


def load(ruleset: str, table: str, commands: Callable[[], str] = lambda: "", context: Context | None = None) -> None:
    """Put ``ruleset``, which deletes and defines ``inet table``, in place of what is there, in one transaction.

    ``commands`` gives what else belongs into it, cgroups above all: those in the text are left out, because one that is
    not there would refuse the whole. Raises ``HostError``; then the rules on the host are what they were before.
    """
    require_privileges()
    failure = f"table inet {table} was not loaded"
    execute(context or open_context(), ruleset.rstrip("\n") + "\n", commands, failure)


def execute(context: Context, text: str, commands: Callable[[], str], failure: str) -> None:
    """Execute ``text`` without the cgroups in it, and what ``commands`` gives, in one transaction.

    ``commands`` is asked again if a cgroup that it named has ended meanwhile, and no other is named. Raises
    ``HostError`` that begins with ``failure``; then nothing changed.
    """
    text = _without_cgroups(text)
    problem = ""
    for _ in range(_ATTEMPTS):
        code, _, problem = context.cmd(text + commands())
        if code == 0:
            return
        if _NO_CGROUP not in problem or _absent_cgroups(text):
            break
    raise _no_cgroup(text, failure) if _NO_CGROUP in problem else _refused(failure, problem)


def change(commands: str, context: Context | None = None) -> bool:
    """Execute nft commands on tables that are there, in one transaction; False if a cgroup in them has ended.

    Raises ``HostError``. Then, and if it is False, nothing changed.
    """
    code, _, problem = (context or open_context()).cmd(commands)
    if code != 0 and _NO_CGROUP not in problem:
        raise _refused("the table was not changed", problem)
    return code == 0


def remove(*tables: str, context: Context | None = None) -> bool:
    """Delete those of ``tables`` (inet) that are there, in one transaction; False if there was none.

    Raises ``HostError`` if the kernel does not allow it.
    """
    require_privileges()
    context = context or open_context()
    if not (there := [table for table in tables if exists(table, context)]):
        return False
    code, _, problem = context.cmd("".join(f"delete table inet {table}\n" for table in there))
    if code != 0:
        raise _refused(f"table inet {' and '.join(there)} was not removed", problem)
    return True


def exists(table: str, context: Context | None = None) -> bool:
    """Whether this network namespace has ``inet table``. Raises ``HostError`` without CAP_NET_ADMIN."""
    require_privileges()
    return _shape(table, context or open_context()) is not None


def require_alone(table: str) -> None:
    """Raise ``HostError`` if another instance is here whose ports, labels and way back are those of ``table``."""
    require_privileges()
    found = re.findall(rf"^table inet ({contract.TABLE})$", _query(open_context(), "list tables inet"), re.MULTILINE)
    for name, _ in found:
        named = name not in (table, f"{table}{contract.GUARD_SUFFIX}") and not name.endswith(contract.GUARD_SUFFIX)
        if named and contract.slot(table) is not None and contract.slot(name) == contract.slot(table):
            raise HostError(
                f"table inet {name} is of an instance with the same ports, labels and routing table as {table}",
                hint="give one of the two another name (`--instance`)",
            )


def listing(table: str, *, terse: bool = False) -> str | None:
    """``inet table`` as nft prints it, counters included; None if there is none.

    ``terse``: without figures and without the elements of named sets, so that equal rules have equal listings. For each
    cgroup in a set nft searches the whole tree of cgroups.
    """
    require_privileges()
    context = open_context()
    if terse:
        return _shape(table, context, "stateless")
    return _query(context, f"list table inet {table}") if exists(table, context) else None


def counters(table: str) -> dict[str, int]:
    """Packets by named counter of ``inet table``; empty if there is no such table."""
    return {name: int(packets) for name, packets in _COUNTER.findall(_shape(table, open_context()) or "")}


def elements(table: str, name: str) -> str:
    """The elements of a set of ``inet table`` as nft writes and reads them; empty if there are none, or no such set."""
    code, text, problem = open_context().cmd(f"list set inet {table} {name}")
    if code != 0 and "No such file or directory" not in problem:
        raise _refused(f"the elements of set {name} could not be read", problem)
    # nft prints the elements last.
    found = re.search(r"^\t\telements = \{(.*)\}\n\t\}\n\}\n*\Z", text, re.DOTALL | re.MULTILINE) if code == 0 else None
    return found[1].strip() if found else ""


def _shape(table: str, context: Context, *flags: str) -> str | None:
    """``inet table`` without the elements of its sets; None if there is none.

    Of nft's questions only the one about all tables, terse, leaves the elements where they are: `list tables` and
    `list counters` too fetch those of every set first (nft 1.0.6, evaluate_cache_list), for 100,000 of them 1.7 s and
    190 MiB.
    """
    names = ("terse", *flags)
    for name in names:
        context.set_output(name, on=True)
    try:
        lines = _query(context, "list ruleset inet").splitlines()
    finally:
        for name in names:
            context.set_output(name, on=False)
    # nft ends a table with a brace in the first column, and says behind the first one whose it is.
    begin = next((at for at, line in enumerate(lines) if line.startswith(f"table inet {table} {{")), None)
    return None if begin is None else "\n".join(lines[begin : lines.index("}", begin) + 1]) + "\n"


def _query(context: Context, command: str) -> str:
    code, text, problem = context.cmd(command)
    if code != 0:
        raise _refused(f"`nft {command}` failed", problem)
    return text


class _Undisturbed:
    """A context during whose calls no signal comes: nf_tables gives a transaction up that one interrupts (EINTR)."""

    def __init__(self, binding: Any) -> None:
        self._binding = binding

    def set_output(self, flag: str, *, on: bool) -> None:
        """See ``Context``."""
        # The binding knows all flags, and has methods for some.
        getattr(self._binding, "_Nftables__set_output_flag")(flag, on)  # noqa: B009 - a name that mypy does not know

    def cmd(self, cmdline: str) -> tuple[int, str, str]:
        """See ``Context``; a signal that comes meanwhile comes afterwards."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            return cast("tuple[int, str, str]", self._binding.cmd(cmdline))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def open_context() -> Context:
    """Make a context; its netlink socket belongs to the network namespace of this moment. Raises ``HostError``."""
    spec = importlib.util.spec_from_file_location("tng_libnftables", BINDING) if BINDING.is_file() else None
    if spec is None or spec.loader is None:
        raise HostError(f"the nftables binding is not at {BINDING}", hint="apt install python3-nftables")
    try:
        ctypes.CDLL("libnftables.so.1")
    except OSError as error:
        raise HostError(f"libnftables cannot be loaded: {error}", hint="apt install libnftables1") from None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return _Undisturbed(module.Nftables())


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


def _no_cgroup(text: str, failure: str) -> HostError:
    if missing := _absent_cgroups(text):
        hint = "start what runs in it first, or take it out of the configuration"
        return HostError(f"{failure}: no such cgroup below {CGROUPS}: {', '.join(missing)}", hint=hint)
    return HostError(
        f"{failure}: a cgroup below {CGROUPS} ended between the look at it and nft's, {_ATTEMPTS} times",
        hint="look for what makes and ends cgroups without a pause (`systemd-cgtop`), and start again",
    )


def _without_cgroups(text: str) -> str:
    # Elements in quotes are paths of cgroups, and nothing else.
    elements = r'\{\s*"[^"{}\n]+"(?:\s*,\s*"[^"{}\n]+")*\s*\}'
    text = re.sub(rf"^add element [^\n{{]*{elements}\n", "", text, flags=re.MULTILINE)
    return re.sub(rf"^\s*elements = {elements}\n", "", text, flags=re.MULTILINE)


def _absent_cgroups(text: str) -> list[str]:
    # nft 1.0.6 says that a path failed, but of a ruleset of several lines it shows the wrong one.
    paths = sorted(set(re.findall(r'cgroupv2 level \d+ (?:!= )?"([^"\n]+)"', text)))
    return [path for path in paths if not (CGROUPS / path).is_dir()]


def _not_permitted() -> HostError:
    return HostError(
        "no CAP_NET_ADMIN in this network namespace: the rules of the host cannot be changed",
        hint="run it as root (sudo), or in a container that was given NET_ADMIN",
    )
