"""By which interface a forwarded packet came in, as far as captures tell: what it is called, and whether it is inside.

Inside is a bridge or one end of a veth pair, as containers and guests are connected, by which the packet's destination
is not reached: a bridge that the host itself goes out by has neighbours on it that are no guests.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

OTHER = "other"
"""Any interface that no entry names."""

Takes = tuple[str, ...] | None
"""What an entry captures of what is forwarded: what came by these names, inside if there are none; None: nothing."""


@dataclass(frozen=True, slots=True, order=True)
class Incoming:
    """``name`` may be one that an entry names by its beginning, ``br-*``: then it is any of these, named no further."""

    name: str = OTHER
    inside: bool = False

    def among(self, names: Iterable[str]) -> bool:
        """Whether it is one of ``names``."""
        return any(self.name.startswith(name[:-1]) if name.endswith("*") else self.name == name for name in names)

    def taken(self, takes: Takes) -> bool:
        """Whether what came by it is captured by an entry that ``takes`` this."""
        if takes is None:
            return False
        return self.among(takes) if takes else self.inside


UNNAMED = Incoming()


def canonical(names: Sequence[str]) -> tuple[str, ...]:
    """Return what stands for the same interfaces in whatever order, and without what others of them hold."""
    begun = [name for name in names if name.endswith("*")]
    held = {name for name in names for other in begun if other != name and name.startswith(other[:-1])}
    return tuple(sorted({*names} - held))


def kinds_matter(entries: Iterable[Takes]) -> bool:
    """Whether some entry asks what is inside."""
    return any(takes == () for takes in entries)


def told_apart(entries: Sequence[Takes]) -> tuple[Incoming, ...]:
    """Return one for each kind of interface that ``entries`` tell apart, first what none of them names."""
    names = sorted({name for takes in entries for name in takes or ()})
    kinds = (False, True) if kinds_matter(entries) else (False,)
    return tuple(Incoming(name, inside) for inside in kinds for name in (OTHER, *names))


def classes(entries: Sequence[Takes]) -> dict[int, tuple[Incoming, ...]]:
    """Return what is taken alike by all entries, by bits: the n-th is set if the n-th takes it."""
    named: dict[str, int] = {}
    begun: dict[str, int] = {}
    inside = 0
    for number, takes in enumerate(entries):
        inside |= (takes == ()) << number
        for name in takes or ():
            table, key = (begun, name[:-1]) if name.endswith("*") else (named, name)
            table[key] = table.get(key, 0) | 1 << number
    found: dict[int, list[Incoming]] = {}
    for each in told_apart(entries):
        meant = named.get(each.name, 0) | (inside if each.inside else 0)
        for end in range(len(each.name) + 1):
            meant |= begun.get(each.name[:end], 0)
        found.setdefault(meant, []).append(each)
    return {meant: tuple(group) for meant, group in found.items()}


def spelled(each: Incoming, *, kinds: bool) -> str:
    """Return it as flows name it; ``kinds``: say whether it is inside."""
    side = (" inside" if each.inside else " outside") if kinds else ""
    return f"{each.name}{side}"
