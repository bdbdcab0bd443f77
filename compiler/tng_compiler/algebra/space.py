"""What destinations are made of: addresses of a family, and ports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Family = Literal["ipv4", "ipv6"]

BITS: dict[Family, int] = {"ipv4": 32, "ipv6": 128}
FAMILIES: tuple[Family, Family] = ("ipv4", "ipv6")
FIRST_PORT, LAST_PORT = 0, 0xFFFF


@dataclass(frozen=True, slots=True, order=True)
class Ports:
    """Inclusive TCP ports. 0 belongs to "every port": a segment to port 0 is legal TCP, and must not slip through."""

    first: int
    last: int


EVERY_PORT = Ports(FIRST_PORT, LAST_PORT)


class Box(NamedTuple):
    """A rectangle of destinations: inclusive address interval times inclusive port interval.

    A tuple, since there may be 100,000 of them and a frozen dataclass takes five times as long to make.
    """

    first: int
    last: int
    ports: Ports


@dataclass(frozen=True, slots=True)
class Region:
    """Destinations of one family: ``ports`` at every address, ``boxes`` at some. Each is disjoint and sorted."""

    family: Family
    ports: tuple[Ports, ...]
    boxes: tuple[Box, ...]

    @property
    def empty(self) -> bool:
        """Whether no packet at all is inside."""
        return not self.ports and not self.boxes
