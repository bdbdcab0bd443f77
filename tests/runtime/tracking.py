"""Connection tracking that is full: its limit is the machine's, but each network namespace counts for itself.

The entries are made through ctnetlink (linux/netfilter/nfnetlink_conntrack.h), and removed by the mark that they carry.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from tng_demo.lab import Host
from tng_runtime.kernel import netlink

_NEW, _DELETE = netlink.CTNETLINK << 8, netlink.CTNETLINK << 8 | 2
_NESTED = 0x8000
_ORIGINAL, _REPLY, _STATUS, _TIMEOUT, _MARK, _MASK = 1, 2, 3, 7, 8, 21
# IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED: those are not given up for new ones.
_LASTING = 0x2 | 0x4 | 0x8
_MARKED = 0x7E57
_PORTS = 60_000
_AT_ONCE = 250


@contextlib.contextmanager
def full(host: Host) -> Iterator[None]:
    """No connection of ``host`` that is not tracked yet can be, until the end of the block."""
    # In a process of its own: the threads of a test would share its interpreter's lock.
    host.run(sys.executable, __file__, env={"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        yield
    finally:
        with host.inside(), netlink.connect(netlink.NETLINK_NETFILTER) as sock:
            wanted = _number(_MARK, _MARKED) + _number(_MASK, 0xFFFFFFFF)
            sock.send(netlink.message(_DELETE, 0, netlink.nfgenmsg(socket.AF_UNSPEC) + wanted))


def fill() -> None:
    """Make as many entries as there can be."""
    most = int(Path("/proc/sys/net/netfilter/nf_conntrack_max").read_text(encoding="ascii"))
    with netlink.connect(netlink.NETLINK_NETFILTER) as sock:
        entries = [_entry(number) for number in range(_PORTS)]
        batches = [b"".join(entries[first : first + _AT_ONCE]) for first in range(0, _PORTS, _AT_ONCE)]
        for network in range(1, most // _PORTS + 2):
            address = bytes([198, 18, network >> 8, network & 0xFF])
            for batch in batches:
                _send(sock, batch.replace(_PLACE, address))


_PLACE = bytes([198, 18, 255, 255])
_THERE = bytes([198, 19, 0, 1])


def _entry(number: int) -> bytes:
    port = 1024 + number
    tuples = _tuple(_ORIGINAL, _PLACE, _THERE, port, 9) + _tuple(_REPLY, _THERE, _PLACE, 9, port)
    rest = _number(_STATUS, _LASTING) + _number(_TIMEOUT, 600) + _number(_MARK, _MARKED)
    return netlink.message(_NEW, netlink.CREATE, netlink.nfgenmsg(socket.AF_INET) + tuples + rest)


def _tuple(kind: int, source: bytes, target: bytes, from_port: int, to_port: int) -> bytes:
    address = netlink.attribute(1, source) + netlink.attribute(2, target)
    protocol = netlink.attribute(1, bytes([socket.IPPROTO_UDP]))
    protocol += netlink.attribute(2, from_port.to_bytes(2)) + netlink.attribute(3, to_port.to_bytes(2))
    nested = netlink.attribute(1 | _NESTED, address) + netlink.attribute(2 | _NESTED, protocol)
    return netlink.attribute(kind | _NESTED, nested)


def _number(kind: int, value: int) -> bytes:
    return netlink.attribute(kind, struct.pack(">I", value))


def _send(sock: socket.socket, data: bytes) -> None:
    """What it answers is that there is no room any more, or nothing."""
    sock.send(data)
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                sock.recv(1 << 18, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise


if __name__ == "__main__":
    fill()
