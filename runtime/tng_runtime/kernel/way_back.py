"""How answers to clients come back where an egress dials from their addresses: a routing rule and a route a family.

The rules mark such answers; the rule leads the mark to a table of ours, in which every address is this host's
(ip-rule(8); type local, ip-route(8)). They are outside of the tables of nft, so nothing replaces them in one step, and
nothing depends on that: an answer that would leave this host is dropped by rule. Both say that the kernel made them
(RTPROT_KERNEL), because systemd-networkd removes rules and routes of others when it starts (networkd.conf(5),
ManageForeignRoutingPolicyRules=). The numbers follow from the table's name, so whoever removes needs no document.
"""

from __future__ import annotations

import errno
import socket
import struct

import anyio

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel import netlink
from tng_schema.contract import WayBack, way_back

# linux/rtnetlink.h, linux/fib_rules.h
_NEW_ROUTE, _DELETE_ROUTE, _NEW_RULE, _DELETE_RULE = 24, 25, 32, 33
_RTA_OIF, _RTA_TABLE = 4, 15
_RTN_LOCAL, _SCOPE_HOST, _PROTOCOL_KERNEL = 2, 254, 2
_FRA_PRIORITY, _FRA_MARK, _FRA_TABLE, _FRA_MASK, _FRA_PROTOCOL = 6, 10, 15, 16, 21
_TO_TABLE = 1
_GROUPS = (7, 8, 11, 19)  # RTNLGRP_IPV4_ROUTE, _IPV4_RULE, _IPV6_ROUTE, _IPV6_RULE
# There already; and not there, or no such address family on this host.
_THERE = (errno.EEXIST,)
_ABSENT = (errno.ENOENT, errno.ESRCH, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Others may change routes many times a second.
_PAUSE_SECONDS = 0.5


def keep(table: str, wanted: WayBack | None) -> bool:
    """Install the way back of the instance with ``table``, or see to it that it has none; whether something changed.

    A family that the host does not have is left out. Raises ``HostError`` if the kernel does not allow it.
    """
    changed = False
    with netlink.connect(netlink.NETLINK_ROUTE) as sock:
        for family in _FAMILIES:
            if wanted is not None:
                changed |= _install(sock, family, wanted)
            else:
                changed |= _remove(sock, family, way_back(table))
    return changed


async def watch(table: str, wanted: WayBack) -> None:
    """Install again what others remove, until cancelled."""
    with netlink.connect(netlink.NETLINK_ROUTE) as sock:
        sock.setblocking(False)
        for group in _GROUPS:
            sock.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_ADD_MEMBERSHIP, group)
        while True:
            try:
                if keep(table, wanted):
                    log.warning("way_back_restored", table=table, meaning="somebody removed a routing rule or route")
            except HostError as error:
                log.error("way_back_not_restored", reason=error.message, advice=error.hint)
            await anyio.wait_readable(sock)
            await anyio.sleep(_PAUSE_SECONDS)
            _drain(sock)


def _drain(sock: socket.socket) -> None:
    while True:
        try:
            sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # there were more than it could hold
                raise


def _install(sock: socket.socket, family: int, wanted: WayBack) -> bool:
    flags = netlink.CREATE | netlink.EXCLUSIVE
    try:
        # The route first: a rule that leads to an empty table leads on to the next rule.
        made = _ask(sock, _NEW_ROUTE, flags, _route(family, wanted), _THERE)
        return _ask(sock, _NEW_RULE, flags, _rule(family, wanted), _THERE) or made
    except OSError as error:
        # EACCES: IPv6 is switched off (disable_ipv6). When it is switched on its routes are told, and we look again.
        if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP) or (
            family == socket.AF_INET6 and error.errno == errno.EACCES
        ):
            return False
        raise HostError(
            f"routing table {wanted.routing_table} and rule {wanted.priority} were not made: {error.strerror}",
            hint="`client_address: original` needs policy routing (CONFIG_IP_MULTIPLE_TABLES) and CAP_NET_ADMIN",
        ) from None


def _remove(sock: socket.socket, family: int, found: WayBack) -> bool:
    try:
        gone = _ask(sock, _DELETE_RULE, 0, _rule(family, found), _ABSENT)
        return _ask(sock, _DELETE_ROUTE, 0, _route(family, found), _ABSENT) or gone
    except OSError as error:
        raise HostError(
            f"routing table {found.routing_table} and rule {found.priority} were not removed: {error.strerror}",
            hint=f"by hand, and with -6 too: `ip rule del table {found.routing_table}`",
        ) from None


def _ask(sock: socket.socket, kind: int, flags: int, body: bytes, harmless: tuple[int, ...]) -> bool:
    """Send one request; False if it was refused for a ``harmless`` reason. Raises ``OSError``."""
    try:
        netlink.request(sock, netlink.message(kind, netlink.ACK | flags, body))
    except OSError as error:
        if error.errno not in harmless:
            raise
        return False
    return True


def _rule(family: int, way: WayBack) -> bytes:
    # struct fib_rule_hdr: family, lengths of destination and source, tos, table, two reserved, action, flags
    head = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, 0, 0, _TO_TABLE, 0)
    numbers = (
        (_FRA_PRIORITY, way.priority),
        (_FRA_MARK, way.mark),
        (_FRA_MASK, 0xFFFFFFFF),
        (_FRA_TABLE, way.routing_table),
    )
    protocol = netlink.attribute(_FRA_PROTOCOL, bytes([_PROTOCOL_KERNEL]))
    return head + b"".join(netlink.attribute(kind, struct.pack("=I", value)) for kind, value in numbers) + protocol


def _route(family: int, way: WayBack) -> bytes:
    # struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
    scope = _SCOPE_HOST if family == socket.AF_INET else 0
    head = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 0, _PROTOCOL_KERNEL, scope, _RTN_LOCAL, 0)
    loopback = netlink.attribute(_RTA_OIF, struct.pack("=I", socket.if_nametoindex("lo")))
    return head + loopback + netlink.attribute(_RTA_TABLE, struct.pack("=I", way.routing_table))
