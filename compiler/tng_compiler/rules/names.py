"""Names of sets: every name that the rules define is made here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tng_compiler.plan.types import CgroupLevel, Family, Interception


def known(level: int) -> str:
    """The set of all cgroups of one depth."""
    return f"known_cgroups_{level}"


def cgroups(entry: Interception, which: Literal["inside", "outside"], level: CgroupLevel) -> str:
    """The set of an entry's own cgroups of one depth."""
    return f"{entry.name}_{which}_{level.level}"


def boxes(entry: Interception, family: Family) -> str:
    """The set of an entry's destinations of one family."""
    return f"{entry.name}_{family}"


def own_cgroups(entry: Interception) -> Iterator[tuple[str, CgroupLevel]]:
    """The sets of the entry's own cgroups by name: inside ones first."""
    yield from ((cgroups(entry, "inside", level), level) for level in entry.inside)
    yield from ((cgroups(entry, "outside", level), level) for level in entry.outside)
