"""Which destinations of a proxy go through the tunnel, and which of the rest go without one, if the document says so.

A name is judged by itself and by its addresses, and what is dialled are the addresses that were judged: a name that
means something else a moment later (DNS rebinding) leads nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from tng_runtime.errors import LinkCode, Refused
from tng_runtime.kernel.dialling import DIAL_SECONDS
from tng_runtime.kernel.names import Named, Resolved, Target, elsewhere, resolve
from tng_runtime.kernel.sockets import Destination
from tng_runtime.manifest import DstFilter, HttpProxy
from tng_schema.pattern import pattern


@dataclass(frozen=True, slots=True)
class Way:
    """Where to, and whether without a tunnel."""

    target: Target
    direct: bool = False


class Filters:
    """Those of one proxy."""

    def __init__(self, proxy: HttpProxy) -> None:
        self._proxy = proxy

    async def way(self, host: str, port: int) -> Way:
        """The way to what a program asked for; raises ``Refused`` (NET-DOOR, NET-DIAL)."""
        asked = elsewhere(host, port)
        there = [each for each in self._proxy.filters if each.port <= port <= each.port_end]
        direct = self._proxy.unmatched == "direct"
        if isinstance(asked, Destination):
            if any(_takes_all(each) or _takes_address(each, asked) for each in there):
                return Way(asked)
            if direct:
                return Way(asked, direct=True)
        elif any(_takes_all(each) or _takes_name(each, asked.host) for each in there):
            return Way(asked)
        elif direct or any(each.network for each in there):
            return await self._by_addresses(asked, there, direct=direct)
        raise _refused(asked)

    async def _by_addresses(self, asked: Named, there: Sequence[DstFilter], *, direct: bool) -> Way:
        try:
            found = await resolve(asked, DIAL_SECONDS)
        except Refused as refused:
            if direct or refused.code is not LinkCode.NET_DIAL:
                raise
            found = []
        inside = [address for address in found if any(_takes_address(each, address) for each in there)]
        if inside:
            return Way(Resolved(asked.host, asked.port, tuple(inside)))
        if direct:
            return Way(Resolved(asked.host, asked.port, tuple(found)), direct=True)
        raise _refused(asked)


def _takes_all(each: DstFilter) -> bool:
    return each.domain is None and each.domain_regex is None and each.network is None


def _takes_address(each: DstFilter, address: Destination) -> bool:
    # Of another family it is in no network.
    return each.network is not None and ip_address(address.host) in ip_network(each.network)


def _takes_name(each: DstFilter, host: str) -> bool:
    name = host.lower().removesuffix(".")
    if each.domain_regex is not None:
        return pattern(each.domain_regex).found_in(name)
    if each.domain is None:
        return False
    if each.domain.startswith("*"):
        return name.endswith(each.domain[1:])
    return name.startswith(each.domain[:-1]) if each.domain.endswith("*") else name == each.domain


def _refused(asked: Destination | Named) -> Refused:
    return Refused(LinkCode.NET_DOOR, f"no filter of the proxy (dst_filters) takes {asked}")
