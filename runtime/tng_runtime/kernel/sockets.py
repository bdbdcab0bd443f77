"""Sockets of a redirected connection: who listens, where the connection was going, and how to dial on.

Netfilter's redirect changes the destination to this host: on an output hook to the loopback address, on
prerouting to the first address of the incoming interface (kernel: net/netfilter/nf_nat_redirect.c). So an
ingress, whose captures come from this host alone, listens on loopback only; an egress, and one that takes what this
host forwards, on the wildcard address. Connection tracking remembers the destination that the client meant.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tng_runtime.errors import HostError, LinkCode, Refused
from tng_runtime.kernel import diag, netlink
from tng_runtime.kernel.liveness import break_off, carry_for_others
from tng_runtime.manifest import Entry, Family, Role
from tng_schema import contract

# SO_ORIGINAL_DST (linux/netfilter_ipv4.h) and IP6T_SO_ORIGINAL_DST (linux/netfilter_ipv6/ip6_tables.h); the first is
# asked at SOL_IP, the second at SOL_IPV6.
_SO_ORIGINAL_DST = 80

# linux/in.h, linux/in6.h
_IP_TRANSPARENT, _IP_BIND_ADDRESS_NO_PORT, _IPV6_TRANSPARENT = 19, 24, 75

# linux/rtnetlink.h: RTM_*, RTA_*, where struct rtmsg has its type, RTN_UNICAST
_NEW_ROUTE, _GET_ROUTE, _RTA_DST, _RTA_OIF, _TYPE_OF_ROUTE, _UNICAST = 24, 26, 1, 4, 7, 1

# The kernel caps it at net.core.somaxconn.
_BACKLOG = 65535

_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
_LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}
_WILDCARD = {"ipv4": "0.0.0.0", "ipv6": "::"}  # noqa: S104 - an egress takes what arrives; its guard chain takes the rest


@dataclass(frozen=True, slots=True)
class Destination:
    """An address and TCP port; ``scope_id`` is the interface of a link-local IPv6 address, else 0."""

    family: Family
    host: str
    port: int
    scope_id: int = 0

    @property
    def sockaddr(self) -> tuple[str, int] | tuple[str, int, int, int]:
        """In the form that ``connect`` takes."""
        return (self.host, self.port) if self.family == "ipv4" else (self.host, self.port, 0, self.scope_id)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}" if self.family == "ipv4" else f"[{self.host}]:{self.port}"


def local_address(connection: socket.socket) -> Destination:
    """The address and port of this host that an accepted connection came to; raises ``ClientLeftError``."""
    try:
        host, port = connection.getsockname()[:2]
    except OSError:
        raise ClientLeftError from None
    return Destination("ipv6" if connection.family == socket.AF_INET6 else "ipv4", host.partition("%")[0], port)


def original_destination(connection: socket.socket) -> Destination:
    """Where the client of an accepted connection was going before the redirect.

    Raises ``Refused`` (NET-DIRECT) if it was going to this very socket: relaying it would make a loop; and
    ``ClientLeftError`` if it was reset while it waited to be accepted, after which tracking soon knows it no more.
    """
    try:
        if connection.family == socket.AF_INET6:
            # struct sockaddr_in6: family, port, flow label, address, scope
            raw = connection.getsockopt(socket.IPPROTO_IPV6, _SO_ORIGINAL_DST, 28)
            _, port, _, packed, scope = struct.unpack("=H2sI16sI", raw)
            found = Destination("ipv6", socket.inet_ntop(socket.AF_INET6, packed), int.from_bytes(port), scope)
        else:
            # struct sockaddr_in: family, port, address, padding
            raw = connection.getsockopt(socket.IPPROTO_IP, _SO_ORIGINAL_DST, 16)
            _, port, packed = struct.unpack("=H2s4s8x", raw)
            found = Destination("ipv4", socket.inet_ntop(socket.AF_INET, packed), int.from_bytes(port))
        own_host, own_port = connection.getsockname()[:2]
    except OSError as error:
        if not _connected(connection):
            raise ClientLeftError from None
        raise Refused(LinkCode.NET_DIRECT, f"connection tracking knows no destination: {error.strerror}") from None
    # Python writes a link-local address with its interface: fe80::1%eth0.
    if (found.host, found.port) == (own_host.partition("%")[0], own_port):
        raise Refused(LinkCode.NET_DIRECT, f"the connection was made straight to the listen port {found.port}")
    return found


def listener(role: Role, family: Family, port: int, mark: int) -> socket.socket:
    """A non-blocking listening socket with ``mark``; raises ``HostError`` if the port cannot be had.

    The rules let a new connection through to a listen port only if the socket that gets it carries the entry's mark.
    It is bound with SO_REUSEADDR, and as soon as it listens that is taken back: accepted sockets inherit it, and
    without it those that a dead run left in TIME_WAIT keep everybody else from the port. Our next start ends them.
    """
    return _listener(family, address_of(family, port, everywhere=role == "egress"), mark)


def _listener(family: Family, where: tuple[str, int], mark: int) -> socket.socket:
    host, port = where
    try:
        sock = socket.socket(_FAMILIES[family], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise _cannot_listen(host, port, error) from None
    try:
        set_mark(sock, mark)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit both.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carry_for_others(sock)
        if family == "ipv6":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not diag.end_waiting(port):
                raise
            sock.bind((host, port))
        sock.listen(_BACKLOG)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        sock.close()
        raise _cannot_listen(host, port, error) from None
    return sock


def address_of(family: Family, port: int, *, everywhere: bool) -> tuple[str, int]:
    """Where the listener of an entry is bound."""
    return (_WILDCARD if everywhere else _LOOPBACK)[family], port


def set_mark(listener: socket.socket, mark: int) -> None:
    """Let a socket carry the mark of its entry, 0 for none; raises ``OSError``."""
    if mark:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)


def listeners(entry: Entry, inherited: Sequence[socket.socket] = ()) -> list[socket.socket]:
    """One listening socket per family of ``entry``, one of ``inherited`` if it is bound where ours would be.

    A family that the host does not have is left out: the rules refuse what is captured in it. Raises ``HostError`` if
    none remains.
    """
    found: list[socket.socket] = []
    missing: HostError | None = None
    for family, where in _places(entry):
        known = [sock for sock in inherited if sock.getsockname()[:2] == where]
        try:
            found.append(known[0] if known else _listener(family, where, entry.so_mark))
        except FamilyMissingError as error:
            missing = error
        except HostError:
            for sock in found:
                sock.close()
            raise
    if not found and missing:
        raise missing
    return found


def _places(entry: Entry) -> Iterator[tuple[Family, tuple[str, int]]]:
    """Where an entry listens."""
    for family in entry.families:
        yield family, address_of(family, entry.listen_port, everywhere=entry.listens_everywhere)
    for rule in entry.mapping:
        kind: Family = "ipv6" if ":" in rule.in_host else "ipv4"
        yield from ((kind, (rule.in_host, port)) for port in range(rule.in_port, rule.in_port_end + 1))
    if entry.proxy is not None:
        yield "ipv6" if ":" in entry.proxy.host else "ipv4", (entry.proxy.host, entry.proxy.port)


def missing_listeners(entry: Entry, bound: Sequence[socket.socket]) -> list[socket.socket]:
    """Listening sockets for the families of ``entry`` that ``bound`` lacks, as far as the host has them by now.

    Raises ``HostError`` if somebody else took the port meanwhile.
    """
    found: list[socket.socket] = []
    for family in entry.families:
        if not any(sock.family == _FAMILIES[family] for sock in bound):
            with contextlib.suppress(FamilyMissingError):
                where = address_of(family, entry.listen_port, everywhere=entry.listens_everywhere)
                found.append(_listener(family, where, entry.so_mark))
    return found


def stop_listening(listener: socket.socket) -> None:
    """Let the kernel reset what waits to be accepted and what comes, and keep the port.

    Linux makes it a bound socket that does not listen (inet_shutdown, tcp_disconnect).
    """
    with contextlib.suppress(OSError):  # it does not listen any more
        listener.shutdown(socket.SHUT_RDWR)


def dial_socket(family: Family, mark: int) -> socket.socket:
    """A non-blocking TCP socket that carries ``mark`` (SO_MARK, socket(7)), so that the rules let its packets pass.

    0 is none. Raises ``HostError`` without CAP_NET_ADMIN.
    """
    try:
        sock = socket.socket(_FAMILIES[family], socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as error:
        raise HostError(f"no socket can be made: {error.strerror}", hint="raise the limit of open files") from None
    try:
        set_mark(sock, mark)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        sock.close()
        raise HostError(f"SO_MARK was not set: {error.strerror}", hint="run it as root or with NET_ADMIN") from None
    return sock


def bind_to_client(sock: socket.socket, client: str) -> None:
    """Let ``sock`` dial from the address ``client``, which is elsewhere (IP_TRANSPARENT, ip(7)), and any port of it.

    The port is chosen when it connects (IP_BIND_ADDRESS_NO_PORT, ip(7)): it may be one that other connections from
    that address have. Raises ``Refused`` (NET-DIAL).
    """
    if "%" in client:
        raise Refused(LinkCode.NET_DIAL, f"{client} belongs to a link: answers to it cannot come back to this host")
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_TRANSPARENT, 1)
        sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((client, 0))
    except OSError as error:
        raise Refused(LinkCode.NET_DIAL, f"not from the client's address {client}: {error.strerror}") from None


def sent_by_this_host(connection: socket.socket) -> bool:
    """Whether an accepted connection was redirected on its way out: such a redirect goes to the loopback address."""
    try:
        return contract.is_loopback(connection.getsockname()[0].partition("%")[0])
    except OSError:
        return False


def is_of_this_host(destination: Destination) -> bool:
    """Whether packets to ``destination`` stay on this host: the kernel is asked for the route (rtnetlink(7)).

    The source address of that route would not do: to a secondary address of an interface it is the primary one
    (kernel: net/ipv4/fib_frontend.c, fib_add_ifaddr). Where there is no route, nothing can be dialled. Raises
    ``OSError`` if the kernel cannot be asked.
    """
    packed = socket.inet_pton(_FAMILIES[destination.family], destination.host)
    # struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags
    wanted = struct.pack("=BBBBBBBBI", _FAMILIES[destination.family], 8 * len(packed), 0, 0, 0, 0, 0, 0, 0)
    wanted += netlink.attribute(_RTA_DST, packed)
    if destination.scope_id:
        wanted += netlink.attribute(_RTA_OIF, struct.pack("=I", destination.scope_id))
    with netlink.connect(netlink.NETLINK_ROUTE) as asking:
        asking.sendto(netlink.message(_GET_ROUTE, 0, wanted), (0, 0))
        (found,) = netlink.messages(asking.recv(1 << 16))
    return found.kind == _NEW_ROUTE and found.body[_TYPE_OF_ROUTE] != _UNICAST


def abort(connection: socket.socket) -> None:
    """Close with a reset, so that the other side's socket is dead at once (SO_LINGER, socket(7)).

    Every captured connection ends like this before the table is removed: with its last nat chain the kernel also stops
    translating the connections that it knows, and what the application then writes leaves for the original destination
    in plaintext. A FIN is not enough, because the application may go on writing after it.
    """
    with contextlib.suppress(OSError):
        break_off(connection)
    connection.close()


class ClientLeftError(Exception):
    """The client of an accepted connection has reset it already."""


class FamilyMissingError(HostError):
    """The host has no such address family, or no loopback address in it."""


def _connected(connection: socket.socket) -> bool:
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _cannot_listen(host: str, port: int, error: OSError) -> HostError:
    what = f"cannot listen on {f'[{host}]' if ':' in host else host}:{port}: {error.strerror}"
    if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
        return FamilyMissingError(what, hint="give the loopback interface its addresses: `ip link set lo up`")
    if error.errno == errno.EADDRINUSE:
        return HostError(what, hint=f"`ss -ltnp sport = :{port}` says who has it; `listen_port` chooses another")
    return HostError(what, hint="run it as root")
