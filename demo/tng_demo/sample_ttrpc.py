"""ttrpc as the sample agent needs it: frames, and the two protobuf wire types that its messages use.

Written apart from the runtime's client on purpose: two readings of one wire check each other.
Frame (containerd/ttrpc, PROTOCOL.md), big endian: u32 data length, u32 stream id, u8 type (1 request, 2 response),
u8 flags.
Protobuf: wire type 0 is a varint, 2 a length with bytes (protobuf.dev, "Encoding").
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct(">IIBB")
REQUEST, RESPONSE = 1, 2
MAX_DATA = 4 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One request: the stream it came on, its method and the message in it."""

    stream: int
    service: str
    method: str
    payload: bytes


def read_fields(message: bytes) -> dict[int, int | bytes]:
    """The last value of each field; raises ``ValueError`` for a wire type other than 0 and 2 or a cut message."""
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        if key & 7 == 0:
            fields[key >> 3], at = _read_varint(message, at)
        elif key & 7 == 2:
            length, at = _read_varint(message, at)
            if at + length > len(message):
                raise ValueError("a field reaches over the end of its message")
            fields[key >> 3] = message[at : at + length]
            at += length
        else:
            raise ValueError(f"wire type {key & 7} is not in these messages")
    return fields


def bytes_field(number: int, value: bytes) -> bytes:
    """One length-delimited field."""
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def varint_field(number: int, value: int) -> bytes:
    """One varint field, ``value`` not negative."""
    return _varint(number << 3) + _varint(value)


def read_call(header: bytes, data: bytes) -> Call:
    """The request in one frame; raises ``ValueError`` if it is not one."""
    _, stream, kind, _ = HEADER.unpack(header)
    if kind != REQUEST:
        raise ValueError(f"expected a request, got frame type {kind}")
    fields = read_fields(data)
    return Call(stream, _text(fields.get(1)), _text(fields.get(2)), _bytes(fields.get(3)))


def response(payload: bytes) -> bytes:
    """The data of an answer that succeeds."""
    return bytes_field(2, payload)


def failure(code: int, message: str) -> bytes:
    """The data of an answer that fails, ``code`` from google.rpc.Code."""
    return bytes_field(1, varint_field(1, code) + bytes_field(2, message.encode()))


def frame(stream: int, data: bytes, kind: int = RESPONSE) -> bytes:
    """Header and data."""
    return HEADER.pack(len(data), stream, kind, 0) + data


def _text(value: int | bytes | None) -> str:
    return _bytes(value).decode()


def _bytes(value: int | bytes | None) -> bytes:
    if isinstance(value, int):
        raise ValueError("expected bytes, got a number")
    return value or b""


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if message[at - 1] < 0x80:
            return value, at
    raise ValueError("a varint without an end")
