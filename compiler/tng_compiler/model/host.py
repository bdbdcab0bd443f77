"""Addresses as the language writes them: one IPv4 or IPv6 address, or a network whose host bits are zero.

Stricter than most parsers on purpose. ``010.0.0.1`` is 8.0.0.1 to some and 10.0.0.1 to others, ``10.20`` is 10.0.0.20,
``10/8`` leaves three octets to imagination: in a filter each of them is a hole.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from tng_compiler.diagnostics.codes import Code
from tng_compiler.model.host_guesses import guess
from tng_compiler.model.types import Network

_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}(?:/(3[0-2]|[12]?[0-9]))?", re.ASCII)
_IPV6_PREFIX = re.compile(r"12[0-8]|1[01][0-9]|[1-9]?[0-9]", re.ASCII)
_GROUP = re.compile(r"[0-9A-Fa-f]{1,4}", re.ASCII)
_OCTETS = {str(number): number for number in range(256)}
_MAPPED = 0xFFFF  # above 32 bits: ::ffff:0:0/96


class HostError(ValueError):
    """``code`` and a message that names what was expected first; ``help`` is what to write instead."""

    def __init__(self, code: Code, message: str, help_: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.help = help_


def parse_host(text: str) -> Network:
    """Return the network that ``host`` names; raise ``HostError`` otherwise."""
    if (number := _address(text)) is not None:
        return Network(4, number, 32)
    if match := _IPV4.fullmatch(text):
        a, b, c, d, prefix = match.groups()
        number = int(a) << 24 | int(b) << 16 | int(c) << 8 | int(d)
        length = 32 if prefix is None else int(prefix)
        if number & ((1 << (32 - length)) - 1):
            raise _host_bits(text, Network(4, number >> 32 - length << 32 - length, length))
        return Network(4, number, length)
    address, slash, prefix = text.partition("/")
    if ":" not in address:
        raise HostError(Code.BAD_HOST, "expected an IPv4 or IPv6 address or network, found ", _ipv4_help(text))
    if "%" in address:
        raise HostError(
            Code.BAD_HOST, "expected an address without a zone, found ", "a filter has no interface: drop the zone"
        )
    try:
        number6 = _address6(address)
    except AddressValueError:
        raise HostError(Code.BAD_HOST, "expected an IPv4 or IPv6 address or network, found ", guess(text)) from None
    if slash and not _IPV6_PREFIX.fullmatch(prefix):
        raise HostError(Code.BAD_HOST, "expected a prefix length from 0 to 128 after the slash, found ")
    length = int(prefix) if slash else 128
    if number6 & ((1 << (128 - length)) - 1):
        raise _host_bits(text, Network(6, number6 >> 128 - length << 128 - length, length))
    if length >= 96 and number6 >> 32 == _MAPPED:
        plain = Network(4, number6 & 0xFFFFFFFF, length - 96)
        help_ = f"write {IPv4Address(plain.first) if length == 128 else plain}"
        raise HostError(Code.BAD_HOST, "expected IPv4 in its own notation, found the IPv4-mapped ", help_)
    return Network(6, number6, length)


def _address(text: str) -> int | None:
    """Return one IPv4 address, as most hosts are, in half of the time that the expression takes; None for others."""
    parts = text.split(".")
    if len(parts) != 4:
        return None
    a, b, c, d = parts
    try:
        return _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
    except KeyError:
        return None


def _address6(text: str) -> int:
    """Return an IPv6 address; of many, most differ in the last group only. Raises ``AddressValueError``."""
    head, _, last = text.rpartition(":")
    return _network6(head) | int(last, 16) if _GROUP.fullmatch(last) else int(IPv6Address(text))


@lru_cache(maxsize=1024)
def _network6(head: str) -> int:
    return int(IPv6Address(f"{head}:0"))


def _host_bits(text: str, network: Network) -> HostError:
    help_ = f"write {network} for the network, or {text.partition('/')[0]} for the one address"
    return HostError(Code.HOST_BITS_SET, "expected a network whose host bits are zero, found ", help_)


def _ipv4_help(text: str) -> str | None:
    address, slash, prefix = text.partition("/")
    parts = address.split(".")
    if not parts or not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        return guess(text)
    if len(parts) != 4:
        return "write all four octets, such as 10.0.0.0/8"
    if any(len(part) > 1 and part[0] == "0" for part in parts):
        plain = ".".join(str(int(part)) for part in parts)
        return f"leading zeros are octal to some programs: write {plain}{slash}{prefix}"
    return "a prefix length is a number from 0 to 32" if slash and all(int(part) < 256 for part in parts) else None


def special(network: Network) -> str | None:
    """Name the kind of a network that lies wholly in a range where TCP between hosts cannot go, None for others."""
    number = network.first
    if network.version == 4:
        octet = number >> 24
        if octet == 127 and network.prefixlen >= 8:
            return "loopback"
        if 224 <= octet <= 239 and network.prefixlen >= 4:
            return "multicast"
        if network.prefixlen == 32 and number in (0, 0xFFFFFFFF):
            return "broadcast" if number else "unspecified"
        return None
    if number >> 120 == 0xFF and network.prefixlen >= 8:
        return "multicast"
    if network.prefixlen == 128 and number <= 1:
        return "loopback" if number else "unspecified"
    return None
