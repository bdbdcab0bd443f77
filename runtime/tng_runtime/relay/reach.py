"""Where a connection is to go: to the destination that it had, or where a mapping leads, by address or by name.

A name is resolved for each connection, in a thread of the resolver's. Its addresses are tried in the manner of happy
eyeballs (RFC 8305): families in turn, the next one a quarter of a second after the last, or at once if that failed.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import chain, zip_longest

import anyio

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.sockets import Destination, local_address, original_destination
from tng_runtime.manifest import Entry, Family, MappingRule

# RFC 8305, section 5: Connection Attempt Delay.
STAGGER_SECONDS = 0.25
# Of one name; a name with more is not made by anybody who means well.
MOST_ADDRESSES = 16


@dataclass(frozen=True, slots=True)
class Named:
    """A host by its name, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


Target = Destination | Named


def target_of(entry: Entry, connection: socket.socket) -> tuple[Destination, Target]:
    """Where the client of an accepted connection was going, and where it is to go.

    Raises ``Refused`` (NET-DIRECT) or ``ClientLeftError``.
    """
    if not entry.is_door:
        meant = original_destination(connection)
        return meant, meant
    meant = local_address(connection)
    if entry.socks5 is not None:
        return meant, meant  # until the client has named another
    for rule in entry.mapping:
        if rule.in_port <= meant.port <= rule.in_port_end and _listens(rule, meant):
            return meant, by_host(rule.out_host, rule.out_port + meant.port - rule.in_port)
    raise Refused(LinkCode.NET_DIRECT, f"no rule of the mapping is about {meant}")


def _listens(rule: MappingRule, at: Destination) -> bool:
    host = ip_address(rule.in_host)
    return rule.in_host == at.host or (host.is_unspecified and (host.version == 6) == (at.family == "ipv6"))


def by_host(host: str, port: int) -> Target:
    """The target with this address, in its canonical form, or with this name."""
    try:
        address = ip_address(host)
    except ValueError:
        return Named(host, port)
    return Destination("ipv6" if address.version == 6 else "ipv4", str(address), port)


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
    return [each for each in turns if each is not None][:MOST_ADDRESSES]


async def first_to_connect(
    addresses: Sequence[Destination],
    dial: Callable[[Destination], Awaitable[socket.socket]],
    give_up: Callable[[socket.socket], None],
) -> socket.socket:
    """The first connection that ``dial`` makes; raises its last ``Refused`` if it makes none.

    A connection that comes too late is handed to ``give_up``.
    """
    won: list[socket.socket] = []
    problem = Refused(LinkCode.NET_DIAL, "the name has no address")

    async def attempt(address: Destination, over: anyio.Event) -> None:
        nonlocal problem
        try:
            sock = await dial(address)
        except Refused as refused:
            problem = refused
        else:
            if won:
                give_up(sock)
            else:
                won.append(sock)
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
