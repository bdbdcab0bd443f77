"""One ipset of the kernel, read by ``ipset save NAME``: its family and the intervals of addresses that are in it.

What an element means is taken from ipset(8). Sets overlap where nft's may not, and in a ``hash:net`` the most specific
network decides, which may be one that is exempt (``nomatch``): ten networks can be one interval, or one can be three.
What cannot be carried over is refused by name, never left out.
"""

from __future__ import annotations

import heapq
import itertools
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tng_runtime.errors import HostError
from tng_runtime.kernel import program
from tng_runtime.manifest import Family

PROGRAMS = (Path("/usr/sbin/ipset"), Path("/sbin/ipset"), Path("/usr/bin/ipset"), Path("/usr/local/sbin/ipset"))
TYPES = ("hash:ip", "hash:net", "bitmap:ip")

_FAMILIES: dict[str, Family] = {"inet": "ipv4", "inet6": "ipv6"}
_AF = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_BITS = {"ipv4": 32, "ipv6": 128}
_HEAD = re.compile(r"create (\S+) (\S+)((?: [^\s\"]+)*)\n")
# A comment has no quotes in it; it may have anything else, line breaks too.
_ELEMENT = re.compile(r"add (\S+) (\S+)((?: [^\s\"]+| \"[^\"]*\")*)\n")

Interval = tuple[int, int]


class Part(NamedTuple):
    """The addresses of one element, ends included; not ``match``: they are exempt (``nomatch``)."""

    first: int
    last: int
    match: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """What is in an ipset of one family: intervals that are ascending and apart from each other."""

    family: Family
    intervals: tuple[Interval, ...]


def read(name: str) -> Saved | None:
    """Ask for the ipset ``name`` of this network namespace; None if there is none.

    Raises ``HostError`` if it cannot be read, or if its content is not addresses of one family.
    """
    text = save(name)
    return None if text is None else parse(name, text)


def save(name: str) -> str | None:
    """The output of ``ipset save``; None if there is no such set. Raises ``HostError``."""
    tool = next((str(path) for path in PROGRAMS if path.is_file()), None)
    if tool is None:
        raise HostError(f"the ipset {name} cannot be read: no program `ipset`", hint="apt install ipset")
    code, text, problem = program.run([tool, "save", name])
    if code == 0:
        return text
    if "does not exist" in problem:
        return None
    said = problem.strip().partition("\n")[0] or f"exit {code}"
    raise HostError(
        f"the ipset {name} cannot be read: {said}", hint=f"`ipset save {name}` says the same; run it as root"
    )


def parse(name: str, text: str) -> Saved:
    """Read the output of ``ipset save``; raises ``HostError`` for what has no meaning as plain addresses."""
    head = _HEAD.match(text)
    if head is None:
        raise _refused(name, f"`ipset save` begins with {text[:60]!r}", "update ipset, and report it")
    kind, words = head[2], head[3].split()
    options = dict(itertools.pairwise(words))
    if kind not in TYPES:
        raise _refused(name, f"its type is {kind}, whose elements are not plain addresses", f"use {' or '.join(TYPES)}")
    if "bitmask" in words:
        raise _refused(name, "it has a bitmask, which is no range of addresses", "use `netmask`, or a hash:net")
    family = _FAMILIES.get(options.get("family", "inet"))
    if family is None:
        raise _refused(name, f"its family is {options['family']}", "use inet or inet6")
    netmask = int(options["netmask"]) if "netmask" in words else _BITS[family]
    parts: list[Part] = []
    place = head.end()
    while place < len(text):
        found = _ELEMENT.match(text, place)
        if found is None:
            raise _refused(name, f"`ipset save` has {text[place : place + 60]!r}", "update ipset, and report it")
        first, last = _addresses(name, family, netmask, found[2])
        parts.append(Part(first, last, " nomatch" not in re.sub(r'"[^"]*"', "", found[3])))
        place = found.end()
    return Saved(family, covered(parts))


def covered(parts: Iterable[Part]) -> tuple[Interval, ...]:
    """What is in a set of overlapping parts: of those that hold an address the smallest decides (ipset(8), hash:net).

    A sweep over the ends, with those that began in a heap, smallest first.
    """
    waiting = sorted(parts, reverse=True)
    bounds = sorted({part.first for part in waiting} | {part.last + 1 for part in waiting})
    begun: list[tuple[int, int, bool]] = []
    found: list[Interval] = []
    for start, end in itertools.pairwise(bounds):
        while waiting and waiting[-1].first == start:
            part = waiting.pop()
            heapq.heappush(begun, (part.last - part.first, part.last, part.match))
        while begun and begun[0][1] < start:
            heapq.heappop(begun)
        if begun and begun[0][2]:
            if found and found[-1][1] == start - 1:
                start = found.pop()[0]
            found.append((start, end - 1))
    return tuple(found)


def written(family: Family, interval: Interval) -> str:
    """An interval in nft's words: ``10.0.0.1`` or ``10.0.0.0-10.0.0.255``."""
    size = _BITS[family] // 8
    ends = [socket.inet_ntop(_AF[family], end.to_bytes(size)) for end in interval]
    return ends[0] if ends[0] == ends[1] else "-".join(ends)


def _addresses(name: str, family: Family, netmask: int, text: str) -> Interval:
    low, dash, high = text.partition("-")
    base, slash, length = low.partition("/")
    bits = _BITS[family]
    try:
        first = int.from_bytes(socket.inet_pton(_AF[family], base))
        if dash:
            return first, int.from_bytes(socket.inet_pton(_AF[family], high))
        free = bits - (int(length) if slash else netmask)
        if not 0 <= free <= bits:
            raise ValueError
    except (OSError, ValueError):
        raise _refused(name, f"its element {text!r} is not a plain address", f"use {' or '.join(TYPES)}") from None
    first = first >> free << free
    return first, first | (1 << free) - 1


def _refused(name: str, problem: str, hint: str) -> HostError:
    return HostError(f"the ipset {name} cannot be followed: {problem}", hint=hint)
