"""Conditions on the sender, as sets of cases: what the capture conditions of the entries can tell apart, and no more.

Cgroup paths are a tree, and a condition on a path means its whole subtree. Among infinitely many cgroups only finitely
many differ: for each path that is mentioned, the cgroups inside of it and inside of no mentioned path below it; and
those outside of all. On an egress there is one more question: does the packet come from this host itself?
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tng_compiler.model.types import CgroupPath, Entry, Netfilter

ELSEWHERE = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """Senders in ``cgroup`` (``ELSEWHERE``: in none that is mentioned), ``local``: from this host to itself."""

    cgroup: str
    local: bool

    def describe(self, *, egress: bool) -> str:
        """Say who it is, for a witness; empty where nothing is special about it."""
        owner = "to a service in" if egress else "from"
        cgroup = f" {owner} cgroup {self.cgroup}" if self.cgroup else ""
        return cgroup + (" sent by this host itself" if self.local else "")


def senders(entries: Sequence[Entry]) -> tuple[Sender, ...]:
    """Return the cases that the entries of one role can tell apart; those outside of all cgroups first."""
    paths = {path.path for entry in entries for path in _mentioned(entry.netfilter)}
    local = (False, True) if any(entry.netfilter.capture_local_traffic for entry in entries) else (False,)
    return tuple(Sender(cgroup, own) for own in local for cgroup in (ELSEWHERE, *sorted(paths)))


def meant(entry: Entry, cases: Iterable[Sender]) -> frozenset[Sender]:
    """Return the cases in which ``entry`` captures, whatever the destination."""
    netfilter = entry.netfilter
    return frozenset(
        case
        for case in cases
        if (not case.local or netfilter.capture_local_traffic) and _inside(netfilter, case.cgroup)
    )


def within(path: str, parents: Iterable[str]) -> bool:
    """Whether the cgroup ``path`` is one of ``parents`` or below one."""
    return any(path == parent or path.startswith(f"{parent}/") for parent in parents)


def _inside(netfilter: Netfilter, cgroup: str) -> bool:
    wanted = [path.path for path in netfilter.capture_cgroup]
    exempt = [path.path for path in netfilter.nocapture_cgroup]
    return (not wanted or within(cgroup, wanted)) and not within(cgroup, exempt)


def _mentioned(netfilter: Netfilter) -> Iterable[CgroupPath]:
    return (*netfilter.capture_cgroup, *netfilter.nocapture_cgroup)


@dataclass(frozen=True, slots=True)
class Class:
    """Cgroups that no condition tells apart: ``paths``, sorted, ``ELSEWHERE`` among them if it is one.

    Bit n of ``meant`` is set if condition n holds there.
    """

    paths: tuple[str, ...]
    meant: int


def classes(conditions: Sequence[tuple[Iterable[str], Iterable[str]]]) -> tuple[Class, ...]:
    """Return the classes of ``conditions``: inside of one of the first (of any if there are none), and of no second.

    The class of those outside of all comes first. Costs the paths times their depth.
    """
    inside: dict[str, int] = {}
    outside: dict[str, int] = {}
    everywhere = 0
    for number, (wanted, exempt) in enumerate(conditions):
        bit = 1 << number
        some = 0
        for path in wanted:
            inside[path] = inside.get(path, 0) | bit
            some = bit
        everywhere |= bit & ~some
        for path in exempt:
            outside[path] = outside.get(path, 0) | bit
    found: dict[int, list[str]] = {}
    for path in (ELSEWHERE, *sorted({*inside, *outside})):
        meant, exempt_from = everywhere, 0
        end = path.find("/")
        while path:
            parent = path if end < 0 else path[:end]
            meant |= inside.get(parent, 0)
            exempt_from |= outside.get(parent, 0)
            if end < 0:
                break
            end = path.find("/", end + 1)
        found.setdefault(meant & ~exempt_from, []).append(path)
    return tuple(Class(tuple(paths), meant) for meant, paths in found.items())
