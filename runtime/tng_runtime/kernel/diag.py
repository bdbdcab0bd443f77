"""TCP sockets of the network namespace, listed and ended through sock_diag(7)."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tng_runtime import log
from tng_runtime.kernel import netlink

# linux/sock_diag.h, linux/inet_diag.h, net/tcp_states.h
_BY_FAMILY, _DESTROY = 20, 21
_CGROUP_ID = 21
TIME_WAIT, _LISTEN = 6, 10
# ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING
CONNECTED = (1, 2, 3, 4, 5, 8, 9, 11)
# struct inet_diag_req_v2 up to its sockid, and struct inet_diag_sockid
_REQUEST = struct.Struct("=BBBxI")
_SOCKID = struct.Struct("=2s2s16s16s12s")
_SOCKID_OFFSET = 4
# sizeof(struct inet_diag_msg); attributes follow.
_MESSAGE_BYTES = 72

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class TcpSocket:
    """A socket: its state, its two ends (IPv4 as IPv4, also inside of an IPv6 socket), and the kernel's id of it."""

    family: int
    state: int
    local: Endpoint
    remote: Endpoint
    sockid: bytes


def sockets(states: Iterable[int]) -> Iterator[TcpSocket]:
    """Yield all TCP sockets in one of ``states``; raises ``OSError``."""
    return map(_read, _dump(states))


def listening() -> Iterator[tuple[Endpoint, int]]:
    """Yield where each TCP socket listens, with the inode number of its cgroup's directory; raises ``OSError``."""
    for body in _dump([_LISTEN]):
        cgroup = netlink.attributes(body[_MESSAGE_BYTES:]).get(_CGROUP_ID)
        if cgroup is not None:
            yield _read(body).local, int.from_bytes(cgroup, sys.byteorder)


def _dump(states: Iterable[int]) -> Iterator[bytes]:
    mask = sum(1 << state for state in states)
    with netlink.connect(netlink.NETLINK_SOCK_DIAG) as sock:
        for family in (socket.AF_INET, socket.AF_INET6):
            body = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, mask) + bytes(_SOCKID.size)
            for found in netlink.dump(sock, _BY_FAMILY, body):
                yield found.body


def end(found: Iterable[TcpSocket]) -> int:
    """End sockets: an application that holds one gets ECONNABORTED; return how many there were.

    Raises ``OSError``, with EOPNOTSUPP where the kernel was built without CONFIG_INET_DIAG_DESTROY.
    """
    ended = 0
    with netlink.connect(netlink.NETLINK_SOCK_DIAG) as sock:
        for each in found:
            body = _REQUEST.pack(each.family, socket.IPPROTO_TCP, 0, 1 << each.state) + each.sockid
            try:
                netlink.request(sock, netlink.message(_DESTROY, netlink.ACK, body))
            except OSError as error:
                if error.errno != errno.ENOENT:  # it has ended meanwhile
                    raise
            else:
                ended += 1
    return ended


def end_waiting(port: int) -> bool:
    """End what is in TIME_WAIT on a local ``port``; False if there was nothing, or if it cannot be done."""
    try:
        return bool(end([found for found in sockets([TIME_WAIT]) if found.local[1] == port]))
    except OSError as error:
        log.warning("time_wait_not_ended", port=port, reason=error.strerror)
        return False


def _read(body: bytes) -> TcpSocket:
    sockid = body[_SOCKID_OFFSET : _SOCKID_OFFSET + _SOCKID.size]
    local_port, remote_port, local, remote, _ = _SOCKID.unpack(sockid)
    family, state = body[0], body[1]
    return TcpSocket(
        family,
        state,
        (address(local, family), int.from_bytes(local_port)),
        (address(remote, family), int.from_bytes(remote_port)),
        sockid,
    )


def address(packed: bytes, family: int) -> str:
    """Write an address of 4 or 16 bytes; one of IPv4 in an IPv6 socket as IPv4."""
    if family == socket.AF_INET:
        return str(ipaddress.IPv4Address(packed[:4]))
    found = ipaddress.IPv6Address(packed)
    return str(found.ipv4_mapped or found)
