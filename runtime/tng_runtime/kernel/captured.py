"""Applications' sockets whose connections were captured, ended before the rules go.

With its last nat chain the kernel stops translating the connections that it knows, so what an application writes into a
captured one afterwards leaves for the original destination, in plaintext. A run that ends resets them all, and so does
the kernel for one that dies; here is what a lost reset leaves. Connection tracking remembers whom it translated: the
answer of such a connection comes from one of the listen ports.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from tng_runtime import log
from tng_runtime.kernel import diag, netlink, nftables
from tng_runtime.kernel.diag import Endpoint, TcpSocket
from tng_schema import contract

# linux/netfilter/nfnetlink_conntrack.h
_GET, _DELETE = netlink.CTNETLINK << 8 | 1, netlink.CTNETLINK << 8 | 2
_ORIGINAL, _REPLY, _STATUS, _PROTOINFO, _ID = 1, 2, 3, 4, 12
_NESTED = 0x8000  # linux/netlink.h, NLA_F_NESTED
# CTA_PROTOINFO_TCP, CTA_PROTOINFO_TCP_STATE
_TCP, _STATE = 1, 1
# linux/netfilter/nf_conntrack_tcp.h, TCP_CONNTRACK_*: SYN_SENT, SYN_RECV, CLOSE, SYN_SENT2
_UNFINISHED = (1, 2, 8, 9)
_IP, _PROTO = 1, 2
_PROTO_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_DST_NAT = 1 << 5  # linux/netfilter/nf_conntrack_common.h, IPS_DST_NAT

Pair = tuple[Endpoint, Endpoint]


@dataclass(frozen=True, slots=True)
class Tracked:
    """A redirected TCP connection as connection tracking knows it: from whom to whom, both ways.

    ``state`` is one of TCP_CONNTRACK_*, ``key`` the body of a request about it.
    """

    original: Pair
    reply: Pair
    state: int
    key: bytes


def end(table: str) -> int:
    """End the sockets of this host whose connections ``inet table`` has captured; return how many there were.

    If somebody has removed the table, those that were redirected to any port of the loopback address count as captured.
    Where the kernel cannot do it (CONFIG_INET_DIAG_DESTROY) that is logged, and nothing is ended.
    """
    ports = {int(port) for port in re.findall(r" redirect to :(\d+)", nftables.listing(table, terse=True) or "")}
    try:
        found = list(_captured(ports))
        ended = diag.end(found)
    except OSError as error:
        why = "CONFIG_INET_DIAG_DESTROY is not set" if error.errno == errno.EOPNOTSUPP else error.strerror
        log.error(
            "captured_sockets_not_ended",
            reason=why,
            meaning="an application that still holds a captured connection may write on in plaintext",
            advice="restart the applications that were captured",
        )
        return 0
    if ended:
        log.info("captured_sockets_ended", table=table, sockets=ended)
    return ended


def forget_unfinished(ports: set[int]) -> None:
    """Let connection tracking forget what is redirected to one of ``ports`` and is not, or no more, a connection.

    The rules of now decide its next packet then. Else a SYN that comes again, or once more from the port of a
    connection that was reset, would be led to where the rules of before led the first. Raises ``OSError``.
    """
    with netlink.connect(netlink.NETLINK_NETFILTER) as sock:
        for each in [each for each in redirected() if each.reply[0][1] in ports]:
            if each.state in _UNFINISHED:
                try:
                    netlink.request(sock, netlink.message(_DELETE, netlink.ACK, each.key))
                except OSError as error:
                    if error.errno != errno.ENOENT:  # it went by itself
                        raise


def _captured(ports: set[int]) -> Iterator[TcpSocket]:
    captured = {each.original for each in redirected() if _to_listener(each.reply[0], ports)}
    for found in diag.sockets(diag.CONNECTED):
        if (found.local, found.remote) in captured:
            yield found


def _to_listener(answering: Endpoint, ports: set[int]) -> bool:
    address, port = answering
    return port in ports if ports else contract.is_loopback(address)


def redirected() -> Iterator[Tracked]:
    """Yield the redirected TCP connections that are tracked in this network namespace; raises ``OSError``."""
    with netlink.connect(netlink.NETLINK_NETFILTER) as sock:
        # Linux 5.15 leaves out the others, which may be a million; older ones give all.
        wanted = netlink.attribute(_STATUS, _DST_NAT.to_bytes(4))
        for entry in netlink.dump(sock, _GET, netlink.nfgenmsg(socket.AF_UNSPEC) + wanted):
            found = netlink.attributes(entry.body[4:])
            if not int.from_bytes(found.get(_STATUS, b"")) & _DST_NAT:
                continue
            original, reply = _pair(found.get(_ORIGINAL, b"")), _pair(found.get(_REPLY, b""))
            if original and reply:
                tcp = netlink.attributes(netlink.attributes(found.get(_PROTOINFO, b"")).get(_TCP, b""))
                key = entry.body[:4] + netlink.attribute(_ORIGINAL | _NESTED, found[_ORIGINAL])
                key += netlink.attribute(_ID, found.get(_ID, b""))
                yield Tracked(original, reply, int.from_bytes(tcp.get(_STATE, b"")), key)


def _pair(data: bytes) -> Pair | None:
    found = netlink.attributes(data)
    proto = netlink.attributes(found.get(_PROTO, b""))
    if proto.get(_PROTO_NUMBER) != bytes([socket.IPPROTO_TCP]):
        return None
    # CTA_IP_V4_SRC 1, V4_DST 2, V6_SRC 3, V6_DST 4
    ends = [data for _, data in sorted(netlink.attributes(found.get(_IP, b"")).items())]
    ports = [int.from_bytes(proto.get(kind, b"")) for kind in (_SOURCE_PORT, _DESTINATION_PORT)]
    if [len(data) for data in ends] not in ([4, 4], [16, 16]):
        return None
    family = socket.AF_INET if len(ends[0]) == 4 else socket.AF_INET6
    source, destination = ((diag.address(data, family), port) for data, port in zip(ends, ports, strict=True))
    return source, destination
