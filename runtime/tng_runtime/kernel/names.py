"""Hosts by their names: all their addresses, and the first that answers.

A name is resolved for each connection, in a thread of the resolver's. Its addresses are tried in the manner of happy
eyeballs (RFC 8305): families in turn, the next one a quarter of a second after the last, or at once if that failed.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain, zip_longest
from typing import TypeVar

import anyio

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.sockets import Destination, is_of_this_host
from tng_runtime.manifest import Family

T = TypeVar("T")

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*", re.ASCII)
# RFC 8305, section 5: Connection Attempt Delay.
STAGGER_SECONDS = 0.25
# Of one name; a name with more is not made by anybody who means well.
MOST_ADDRESSES = 16


@dataclass(frozen=True, slots=True)
class Named:
    """A host by its name, and a port. ``elsewhere``: addresses of this host do not count."""

    host: str
    port: int
    elsewhere: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A host by its name, and the addresses that were found for it, at least one."""

    host: str
    port: int
    addresses: tuple[Destination, ...]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


Target = Destination | Named | Resolved


def by_host(host: str, port: int) -> Destination | Named:
    """The target with this address, or with this name."""
    try:
        address = ip_address(host)
    except ValueError:
        return Named(host, port)
    return Destination("ipv6" if address.version == 6 else "ipv4", str(address), port)


def elsewhere(host: str, port: int) -> Destination | Named:
    """What a program asked a proxy for; raises ``Refused`` (NET-DOOR) if it is this host, or neither name nor address.

    IPv4 in IPv6 is IPv4, so that it is judged as what it is.
    """
    address: IPv4Address | IPv6Address | None = None
    with contextlib.suppress(ValueError):
        address = ip_address(host)
    if address is None or "%" in host:
        # getaddrinfo(3) takes 127.1, 0x7f.1 and 2130706433 for addresses: no name of a host ends with a number.
        if not _HOST_NAME.fullmatch(host) or _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
            raise Refused(LinkCode.NET_DOOR, "the destination is neither an address nor the name of a host")
        return Named(host, port, elsewhere=True)
    address = getattr(address, "ipv4_mapped", None) or address
    found = Destination("ipv6" if address.version == 6 else "ipv4", str(address), port)
    return _elsewhere(Named(host, port), [found])[0]


async def resolve(name: Named, seconds: float) -> list[Destination]:
    """The addresses of ``name``, families in turn; raises ``Refused`` (NET-DIAL) if there are none in ``seconds``."""
    try:
        with anyio.fail_after(seconds):
            found = await anyio.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    except TimeoutError:
        raise Refused(LinkCode.NET_DIAL, f"{name}: its name was not resolved in {seconds:g} s") from None
    except (OSError, UnicodeError) as error:
        raise Refused(LinkCode.NET_DIAL, f"{name}: its name was not resolved: {error}") from None
    by_family: dict[Family, list[Destination]] = {}
    for family, _, _, _, address in found:
        kind: Family = "ipv6" if family == socket.AF_INET6 else "ipv4"
        parts: tuple[object, ...] = address
        scope = parts[3] if len(parts) > 3 and isinstance(parts[3], int) else 0
        made = Destination(kind, str(address[0]).partition("%")[0], name.port, scope)
        mine = by_family.setdefault(kind, [])
        if made not in mine:
            mine.append(made)
    # The family that the resolver prefers comes first (RFC 6724).
    turns = chain.from_iterable(zip_longest(*by_family.values()))
    addresses = [each for each in turns if each is not None][:MOST_ADDRESSES]
    return _elsewhere(name, addresses) if name.elsewhere else addresses


def _elsewhere(asked: Named, addresses: Sequence[Destination]) -> list[Destination]:
    """Those of ``addresses`` that are not of this host; raises ``Refused`` (NET-DOOR) if none is left.

    The name of a host may have any address, also one that means the host of who asks (DNS rebinding).
    """
    found: list[Destination] = []
    for each in addresses:
        address = ip_address(each.host)
        inner = getattr(address, "ipv4_mapped", None) or address
        if inner.version != address.version:  # on IPv4's routes it is dialled
            each = Destination("ipv4", str(inner), each.port)
        nobody = inner.is_loopback or inner.is_unspecified or inner.is_multicast
        if not nobody and not _is_here(each):
            found.append(each)
    if not found:
        raise Refused(LinkCode.NET_DOOR, f"{asked} is this host, or nobody")
    return found


def _is_here(address: Destination) -> bool:
    try:
        return is_of_this_host(address)
    except OSError as error:
        raise Refused(LinkCode.NET_LIMIT, f"the kernel was not asked for a route: {error.strerror}") from None


async def first_to_connect(
    addresses: Sequence[Destination],
    dial: Callable[[Destination], Awaitable[T]],
    give_up: Callable[[T], None],
) -> T:
    """The first connection that ``dial`` makes; raises its last ``Refused`` if it makes none.

    A connection that comes too late is handed to ``give_up``.
    """
    won: list[T] = []
    problem = Refused(LinkCode.NET_DIAL, "the name has no address")

    async def attempt(address: Destination, over: anyio.Event) -> None:
        nonlocal problem
        try:
            made = await dial(address)
        except Refused as refused:
            problem = refused
        else:
            if won:
                give_up(made)
            else:
                won.append(made)
                attempts.cancel_scope.cancel()
        finally:
            over.set()

    async with anyio.create_task_group() as attempts:
        for address in addresses:
            over = anyio.Event()
            attempts.start_soon(attempt, address, over)
            with anyio.move_on_after(STAGGER_SECONDS):
                await over.wait()
    if not won:
        raise problem
    return won[0]
