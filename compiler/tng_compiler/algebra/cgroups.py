"""Conditions on the sender, as sets of cases: what the capture conditions of the entries can tell apart, and no more.

Cgroup paths are a tree, and a condition on a path means its whole subtree. Among infinitely many cgroups only finitely
many differ: for each path that is mentioned, the cgroups inside of it and inside of no mentioned path below it; and
those outside of all. On an egress there is one more question: does the packet come from this host itself?
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

ELSEWHERE = ""


@dataclass(frozen=True, slots=True)
class Sender:
    """Senders in ``cgroup`` (``ELSEWHERE``: in none that is mentioned), ``local``: from this host to itself.

    ``interface``: this host forwards it, and it came by that one.
    """

    cgroup: str
    local: bool
    interface: str = ""

    def describe(self, *, egress: bool) -> str:
        """Say who it is, for a witness; empty where nothing is special about it."""
        owner = "to a service in" if egress else "from"
        cgroup = f" {owner} cgroup {self.cgroup}" if self.cgroup else ""
        forwarded = f" forwarded from {self.interface}" if self.interface else ""
        return cgroup + (" sent by this host itself" if self.local else "") + forwarded


def around(path: str) -> Iterator[str]:
    """Yield the cgroups that ``path`` is in, from the outermost, and itself."""
    end = path.find("/")
    while end >= 0:
        yield path[:end]
        end = path.find("/", end + 1)
    yield path


def within(path: str, parents: Container[str]) -> bool:
    """Whether the cgroup ``path`` is one of ``parents`` or below one."""
    return any(parent in parents for parent in around(path))


@dataclass(frozen=True, slots=True)
class Class:
    """Cgroups that no condition tells apart: ``paths``, sorted, ``ELSEWHERE`` among them if it is one.

    Bit n of ``meant`` is set if condition n holds there.
    """

    paths: tuple[str, ...]
    meant: int


def classes(conditions: Sequence[tuple[Iterable[str], Iterable[str]]]) -> tuple[Class, ...]:
    """Return the classes of ``conditions``: inside of one of the first (of any if there are none), and of no second.

    The class of those outside of all comes first. Costs sorting the paths.
    """
    inside: dict[str, int] = {}
    outside: dict[str, int] = {}
    everywhere = 0
    for number, (wanted, exempt) in enumerate(conditions):
        bit = 1 << number
        some = 0
        for path in wanted:
            inside[path] = inside[path] | bit if path in inside else bit
            some = bit
        everywhere |= bit & ~some
        for path in exempt:
            outside[path] = outside[path] | bit if path in outside else bit
    found: dict[int, list[str]] = {everywhere: [ELSEWHERE]}
    parents = [("", everywhere, 0)]
    # What is below a path comes directly behind it.
    for path in sorted({*inside, *outside}, key=lambda path: path.replace("/", "\0")):
        while not path.startswith(parents[-1][0]):
            parents.pop()
        _, meant, exempt_from = parents[-1]
        meant |= inside.get(path, 0)
        exempt_from |= outside.get(path, 0)
        parents.append((f"{path}/", meant, exempt_from))
        found.setdefault(meant & ~exempt_from, []).append(path)
    return tuple(Class(tuple(sorted(paths)), meant) for meant, paths in found.items())
