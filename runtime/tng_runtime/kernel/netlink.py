"""Netlink by hand, as much as is needed: framing, attributes, requests that are answered, dumps.

Formats: linux/netlink.h, linux/netfilter/nfnetlink.h. Numbers of netlink are in the byte order of the host;
those inside the attributes of nfnetlink are in network order.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# <linux/netlink.h>
NETLINK_ROUTE, NETLINK_SOCK_DIAG, NETLINK_NETFILTER = 0, 4, 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
REQUEST, ACK, DUMP, EXCLUSIVE, CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_ERROR, _DONE = 2, 3
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
# Without NLA_F_NESTED and NLA_F_NET_BYTEORDER.
_TYPE_MASK = 0x3FFF

# linux/netfilter/nfnetlink.h: NFNL_MSG_BATCH_BEGIN, NFNL_MSG_BATCH_END, NFNL_SUBSYS_*
_BATCH_BEGIN, _BATCH_END = 16, 17
CTNETLINK, NFTABLES = 1, 10

_RECEIVE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Message:
    """One message; ``port`` is the netlink port of the socket whose request it answers or tells of."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


def message(kind: int, flags: int, body: bytes, sequence: int = 0) -> bytes:
    """Frame ``body``; netlink messages are padded to four bytes."""
    text = _HEADER.pack(_HEADER.size + len(body), kind, flags | REQUEST, sequence, 0) + body
    return text + bytes(-len(text) % 4)


def attribute(kind: int, data: bytes) -> bytes:
    """Frame one attribute."""
    text = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(data), kind) + data
    return text + bytes(-len(text) % 4)


def nfgenmsg(family: int, resource: int = 0) -> bytes:
    """Return the head of every body of nfnetlink."""
    return struct.pack("=BB", family, 0) + resource.to_bytes(2)


def nftables_batch(*messages: bytes) -> bytes:
    """Make one transaction of messages to nftables."""
    head = nfgenmsg(socket.AF_UNSPEC, NFTABLES)
    return message(_BATCH_BEGIN, 0, head) + b"".join(messages) + message(_BATCH_END, 0, head)


def messages(data: bytes) -> Iterator[Message]:
    """Split what one ``recv`` gave; what is cut off at its end is left out."""
    while len(data) >= _HEADER.size:
        length, kind, flags, sequence, port = _HEADER.unpack_from(data)
        if not _HEADER.size <= length <= len(data):
            return
        yield Message(kind, flags, sequence, port, data[_HEADER.size : length])
        data = data[length + -length % 4 :]


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in ``data`` by type, the last of each."""
    found: dict[int, bytes] = {}
    while len(data) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not _ATTRIBUTE.size <= length <= len(data):
            break
        found[kind & _TYPE_MASK] = data[_ATTRIBUTE.size : length]
        data = data[length + -length % 4 :]
    return found


def text(data: bytes | None) -> str:
    """Read an attribute that is a C string."""
    return (data or b"").split(b"\0", 1)[0].decode("ascii", "backslashreplace")


def connect(protocol: int) -> socket.socket:
    """Open a netlink socket with a port of its own, in the network namespace of the calling thread."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    sock.bind((0, 0))
    return sock


def request(sock: socket.socket, data: bytes) -> None:
    """Send messages of which at least one asks for an answer (ACK); raises ``OSError`` if one of them is refused.

    The kernel answers before ``send`` returns, so a socket that does not block is as good.
    """
    sock.sendto(data, (0, 0))
    refused: OSError | None = None
    answered = False
    while not (answered and _empty(sock)):
        for answer in messages(sock.recv(_RECEIVE_BYTES)):
            answered = True
            refused = refused or _refusal(answer)
    if refused is not None:
        raise refused


def dump(sock: socket.socket, kind: int, body: bytes) -> Iterator[Message]:
    """Yield everything that a dump request lists; raises ``OSError`` if it is refused."""
    sock.sendto(message(kind, DUMP, body), (0, 0))
    while True:
        for found in messages(sock.recv(_RECEIVE_BYTES)):
            if found.kind == _DONE:
                return
            if refused := _refusal(found):
                raise refused
            yield found


def _empty(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True


def _refusal(answer: Message) -> OSError | None:
    if answer.kind != _ERROR:
        return None
    (code,) = struct.unpack_from("=i", answer.body)
    return OSError(-code, os.strerror(-code)) if code else None
