"""Packets that no stack would send: TCP segments with a foreign source, and router advertisements, octet by octet."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Network

from packets.attack import hardware_address, index_of, inject
from packets.wire import FAMILIES
from tng_demo.lab import Host

FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10  # RFC 9293, 3.1
_ETHERTYPE = {"ipv4": 0x0800, "ipv6": 0x86DD}
_ALL_NODES = "ff02::1"  # RFC 4291, 2.7.1
_ROUTER_ADVERTISEMENT = 134  # RFC 4861, 4.2
_ON_LINK = 0x80  # RFC 4861, 4.6.2
_HOUR = 3600


def send_segment(
    sender: Host,
    receiver: Host,
    source: tuple[str, int],
    target: tuple[str, int],
    flags: int = SYN,
    *,
    sequence: int = 1000,
) -> None:
    """Put a TCP segment without data onto the cable, addressed to the receiver's interface whatever its addresses."""
    family = "ipv6" if ":" in target[0] else "ipv4"
    packet = _packet(family, source, target, struct.pack("!IIBBHHH", sequence, 1, 5 << 4, flags, 64240, 0, 0))
    inject(sender, hardware_address(receiver), _ETHERTYPE[family], packet)


def advertise(sender: Host, prefix: str) -> None:
    """Tell every neighbour that ``prefix`` is on this link (RFC 4861, 4.2), as any neighbour can."""
    network = IPv6Network(prefix)
    header = struct.pack("!BBHBBHII", _ROUTER_ADVERTISEMENT, 0, 0, 64, 0, 0, 0, 0)
    option = struct.pack("!BBBBIII", 3, 4, network.prefixlen, _ON_LINK, _HOUR, _HOUR, 0)
    with sender.inside(), socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.sendto(header + option + network.network_address.packed, (_ALL_NODES, 0, 0, index_of(sender)))


def _packet(family: str, source: tuple[str, int], target: tuple[str, int], rest: bytes) -> bytes:
    addresses = [socket.inet_pton(FAMILIES[family], address) for address in (source[0], target[0])]
    segment = struct.pack("!HH", source[1], target[1]) + rest
    pseudo = b"".join(addresses) + struct.pack("!IHH", len(segment), 0, socket.IPPROTO_TCP)
    segment = segment[:16] + struct.pack("!H", _checksum(pseudo + segment)) + segment[18:]
    if family == "ipv6":
        return struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64) + b"".join(addresses) + segment
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0, 64, socket.IPPROTO_TCP, 0)
    whole = header + b"".join(addresses)
    return whole[:10] + struct.pack("!H", _checksum(whole)) + whole[12:] + segment


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
