"""Listen ports that somebody else has. Who listens is read from /proc, which takes nothing and asks nobody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import running
from tng_compiler.host.finding import ERROR, Finding, in_document
from tng_compiler.plan.doorways import Doorway, doorways
from tng_compiler.plan.types import Interception, Plan

_LISTEN = "0A"  # net/tcp_states.h


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket of this network namespace."""

    address: IPv4Address | IPv6Address
    port: int
    inode: str


def taken(plan: Plan) -> Iterator[Finding]:
    """Each listen port, of captures and of doors, that a process other than the run of this instance has."""
    there = [item for name in ("tcp", "tcp6") for item in _listening(Path("/proc/self/net") / name)]
    run = running.find(plan.instance)
    ours = _sockets(run.pid) if run else frozenset()
    for entry in plan.entries:
        for item in there:
            if item.port == entry.listen_port and _collides(entry, item) and item.inode not in ours:
                what = f"the listen port {item.port}"
                yield _taken(entry.pointer, what, item, "give the entry another `listen_port`")
                break
    for way in doorways(plan):
        for item in there:
            if way.box.ports.first <= item.port <= way.box.ports.last and _same(way, item) and item.inode not in ours:
                yield _taken(way.pointer, f"{way.host} port {item.port}", item, "give the door another port")
                break


def _taken(pointer: str, what: str, item: Listener, other: str) -> Finding:
    owner = _owner(item)
    help_ = f"end it, or {other}"
    if owner is None and os.geteuid() != 0:
        help_ = f"only root sees whose it is: the run of this instance would be taken over; else {other}"
    found = f"found {owner or 'another process'} on it at {item.address}"
    return in_document(Code.PORT_TAKEN, ERROR, pointer, f"expected {what} to be free, {found}", help_)


def _same(way: Doorway, item: Listener) -> bool:
    """Whether a socket is where the door would be; one of IPv6 may take IPv4 as well (IPV6_V6ONLY)."""
    every = way.host.is_unspecified or item.address.is_unspecified
    return way.host == item.address or (every and item.address.version >= way.host.version)


def _collides(entry: Interception, item: Listener) -> bool:
    return entry.role == "egress" or entry.takes_forwarded or item.address.is_unspecified or item.address.is_loopback


def _listening(path: Path) -> Iterator[Listener]:
    with suppress(OSError):
        for line in path.read_text("ascii", "replace").splitlines()[1:]:
            words = line.split()
            if len(words) > 9 and words[3] == _LISTEN:
                address, _, port = words[1].partition(":")
                # Words of 32 bits in the order of the host, which is little-endian wherever this runs.
                packed = b"".join(bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
                yield Listener(ip_address(packed), int(port, 16), words[9])


def _sockets(pid: int | str) -> frozenset[str]:
    found = set()
    with suppress(OSError):
        for descriptor in Path("/proc", str(pid), "fd").iterdir():
            with suppress(OSError):
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    found.add(target[8:-1])
    return frozenset(found)


def _owner(item: Listener) -> str | None:
    for name in filter(str.isdecimal, os.listdir("/proc")):
        if item.inode in _sockets(name):
            with suppress(OSError):
                return f"{Path('/proc', name, 'comm').read_text('utf-8', 'replace').strip()} (process {name})"
    return None
