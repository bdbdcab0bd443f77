"""Whether the services behind an egress listen in the cgroups that its entry names.

The rules look at the cgroup of the listening socket, and a socket keeps the one in which it was made (cgroups(7), and
kernel: sock_cgroup_data). One that systemd made for a unit (socket activation), or that a process made before it was
moved, is in another one: what it accepts goes past the tunnel, and nothing shows that from outside. So it is looked at
once, when the rules are loaded; the listening sockets come from the kernel by sock_diag(7).
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tng_runtime import log
from tng_runtime.kernel import nftables
from tng_runtime.manifest import ServiceCgroups

# linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST_DUMP = 0x301
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_INET_DIAG_CGROUP_ID = 21
_TCP_LISTEN = 10
# struct inet_diag_msg: family, state, timer, retransmits; then ports, addresses, interface, cookie, and five words.
_MESSAGE = struct.Struct("=BBBB 2s2s16s16s I8s 5I")
_HEADER = struct.Struct("=IHHII")
_DEADLINE_SECONDS = 10.0
# More of a kind tells nobody more.
_MOST = 8


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening TCP socket of this network namespace; ``cgroup`` is the inode number of its cgroup's directory."""

    address: str
    port: int
    cgroup: int


def listening() -> Iterator[Listening]:
    """Every listening TCP socket. Raises ``OSError`` if the kernel does not tell (no inet_diag)."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as sock:
        sock.settimeout(_DEADLINE_SECONDS)
        for family in (socket.AF_INET, socket.AF_INET6):
            # struct inet_diag_req_v2, its sockid all zero
            request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << _TCP_LISTEN)
            head = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST_DUMP, 0, 0)
            sock.send(head + request)
            yield from _answers(sock, family)


def _answers(sock: socket.socket, family: socket.AddressFamily) -> Iterator[Listening]:
    while True:
        data = sock.recv(1 << 17)
        while data:
            length, kind, *_ = _HEADER.unpack_from(data)
            if kind == _NLMSG_DONE:
                return
            body, data = data[_HEADER.size : length], data[_aligned(length) :]
            if kind == _NLMSG_ERROR:
                number = -struct.unpack_from("=i", body)[0]
                raise OSError(number, os.strerror(number))
            _, _, _, _, port, _, source, *_ = _MESSAGE.unpack_from(body)
            address = socket.inet_ntop(family, source[: 4 if family == socket.AF_INET else 16])
            for attribute, value in _attributes(body[_MESSAGE.size :]):
                if attribute == _INET_DIAG_CGROUP_ID:
                    yield Listening(address, int.from_bytes(port), struct.unpack("=Q", value)[0])


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind, data[4:length]
        data = data[_aligned(length) :]


def _aligned(length: int) -> int:
    return length + 3 & ~3


def warn(services: Sequence[ServiceCgroups], root: Path = nftables.CGROUPS) -> None:
    """Log each socket that listens on a captured port of an entry, in a cgroup that the entry does not capture."""
    if not services:
        return
    try:
        found = list(listening())
    except OSError as error:
        log.warning("listeners_not_seen", reason=error.strerror, meaning="their cgroups are not compared")
        return
    paths: dict[int, str] = {}
    for service in services:
        there = [one for one in found if any(first <= one.port <= last for first, last in service.ports)]
        paths = paths or (_paths(root) if there else {})
        strangers = [one for one in there if not _inside(paths.get(one.cgroup), service.paths)]
        for one in strangers[:_MOST]:
            log.warning(
                "listener_in_other_cgroup",
                entry=service.entry,
                port=one.port,
                address=one.address,
                cgroup=paths.get(one.cgroup, "one that has ended"),
                captured=", ".join(service.paths),
                meaning="what it accepts is not captured: a socket keeps the cgroup in which it was made",
                advice="start the service in its cgroup and let it make its own sockets, or capture without cgroup",
            )
        if len(strangers) > _MOST:
            log.warning("listener_in_other_cgroup", entry=service.entry, more=len(strangers) - _MOST)


def _inside(path: str | None, captured: Sequence[str]) -> bool:
    return path is not None and any(path == one or path.startswith(f"{one}/") for one in captured)


def _paths(root: Path) -> dict[int, str]:
    """The cgroups of this host by inode number; the root itself is ``/``."""
    found = {}
    for directory, _, _ in os.walk(root):
        try:
            found[os.stat(directory).st_ino] = os.path.relpath(directory, root) if directory != str(root) else "/"
        except FileNotFoundError:
            continue
    return found
