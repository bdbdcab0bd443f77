"""One end of a flow: what is known of its address and port."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_network

from lark import Token, Tree

from tng_compiler.algebra.space import EVERY_PORT, Family, Ports
from tng_compiler.diagnostics.mistake import Mistake, MistakeError, number

LOOPBACK: dict[Family, tuple[int, int]] = {"ipv4": (0x7F000000, 0x7FFFFFFF), "ipv6": (1, 1)}


@dataclass(frozen=True, slots=True)
class End:
    """``addresses`` is an inclusive interval of ``family``, both None if unknown; ``ports`` likewise.

    ``local``: the address is one of this host, whatever it is if ``addresses`` are unknown.
    """

    family: Family | None = None
    addresses: tuple[int, int] | None = None
    ports: Ports | None = None
    local: bool = False

    @property
    def here(self) -> bool:
        """Whether it is this host for certain: said so, or a loopback address."""
        if self.family is None or self.addresses is None:
            return self.local
        first, last = LOOPBACK[self.family]
        return self.local or first <= self.addresses[0] <= self.addresses[1] <= last

    @property
    def elsewhere(self) -> bool:
        """Whether an address was given that is not this host's by its looks."""
        return self.addresses is not None and not self.here


UNKNOWN = End()


def end_of(tree: Tree[Token]) -> End:
    """Read an ``end`` of the grammar; an address or port that is none raises ``MistakeError``."""
    family: Family | None = None
    addresses: tuple[int, int] | None = None
    ports: Ports | None = None
    local = False
    for token in tree.children:
        assert isinstance(token, Token)
        match token.type:
            case "IPV4" | "IPV6":
                family, addresses = _network(token)
            case "PORTS":
                ports = _ports(token)
            case "LOCAL":
                local = True
    return End(family, addresses, ports, local)


def _network(token: Token) -> tuple[Family, tuple[int, int]]:
    try:
        network = ip_network(str(token), strict=False)
    except ValueError:
        what = "IPv4" if token.type == "IPV4" else "IPv6"
        raise _mistake(
            token, f"expected an {what} address or network, found `{token}`", "such as 10.1.2.3, or 2001:db8::/32"
        ) from None
    family: Family = "ipv4" if network.version == 4 else "ipv6"
    return family, (int(network[0]), int(network[-1]))


def _ports(token: Token) -> Ports:
    first, _, last = str(token)[1:].partition("-")
    low, high = number(first), number(last or first)
    if low is None or high is None or not low <= high <= EVERY_PORT.last:
        raise _mistake(
            token, f"expected ports from 0 to 65535, found `{str(token)[1:]}`", "such as :443, or :8000-8099"
        )
    return Ports(low, high)


def _mistake(token: Token, message: str, help_: str) -> MistakeError:
    start, end = token.start_pos or 0, token.end_pos or 0
    return MistakeError(Mistake(message, start, end, help_))
