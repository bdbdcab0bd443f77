"""ttrpc, the client's half, sans-IO: bytes in, bytes or ``Refused`` out.

A frame is a header of ten bytes, big endian (containerd/ttrpc, PROTOCOL.md): u32 data length, u32 stream id, u8 type
(1 request, 2 response), u8 flags; then the data, at most 4 MiB. A client's streams have odd, ascending ids and one
request and one response each.

The messages have a handful of fields with two wire types (protobuf.dev, "Encoding"), so they are read here, strictly:
a known field has its own wire type and comes once, strings are UTF-8, fields of later versions are skipped.
The agent runs on this host, but it answers with what a device told it: its bytes are foreign.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused

MAX_DATA = 4 << 20
HEADER = struct.Struct(">IIBB")
_REQUEST, _RESPONSE = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_FIELD = (1 << 29) - 1


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to one call; ``code`` is a google.rpc.Code, 0 for success."""

    code: int
    message: str
    payload: bytes


def request(stream: int, service: str, method: str, payload: bytes, timeout_nano: int) -> bytes:
    """One request frame."""
    data = (
        bytes_field(1, service.encode())
        + bytes_field(2, method.encode())
        + bytes_field(3, payload)
        + _varint(4 << 3 | _VARINT)
        + _varint(timeout_nano)
    )
    return HEADER.pack(len(data), stream, _REQUEST, 0) + data


def response_length(header: bytes, stream: int) -> int:
    """The length of the data that follows ``header``, which must begin the response on ``stream``.

    Raises ``Refused`` (``RA-AGENT-FRAME``) for another stream, another type or more than 4 MiB.
    """
    length, got_stream, kind, _flags = HEADER.unpack(header)
    if kind != _RESPONSE:
        raise _malformed(f"expected a response frame (type 2), got type {kind}")
    if got_stream != stream:
        raise _malformed(f"expected stream {stream}, got stream {got_stream}")
    if length > MAX_DATA:
        raise _malformed(f"expected at most {MAX_DATA} bytes, got a frame of {length}")
    return int(length)


def read_response(data: bytes) -> Response:
    """The response in a frame's data; raises ``Refused`` (``RA-AGENT-FRAME``) for any other bytes."""
    fields = _fields(data, {1: _BYTES, 2: _BYTES})
    status = _fields(_bytes(fields, 1), {1: _VARINT, 2: _BYTES})
    code = status.get(1, 0)
    assert isinstance(code, int)
    return Response(code, _text(status, 2), _bytes(fields, 2))


def read_bytes(message: bytes) -> bytes:
    """Field 1 of a message that has only this one, as bytes; empty when absent."""
    return _bytes(_fields(message, {1: _BYTES}), 1)


def read_text(message: bytes) -> str:
    """Field 1 of a message that has only this one, as text; empty when absent."""
    return _text(_fields(message, {1: _BYTES}), 1)


def bytes_field(number: int, value: bytes) -> bytes:
    """One length-delimited field; nothing for an empty value, as proto3 writes it."""
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value if value else b""


def _fields(message: bytes, known: dict[int, int]) -> dict[int, int | bytes]:
    fields: dict[int, int | bytes] = {}
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        number, wire = key >> 3, key & 7
        value, at = _read_value(message, at, wire)
        if not 1 <= number <= _MAX_FIELD:
            raise _malformed(f"{number} is not a field number")
        if number not in known:
            continue
        if wire != known[number]:
            raise _malformed(f"field {number} has wire type {wire}, not {known[number]}")
        if number in fields:
            raise _malformed(f"field {number} comes twice")
        fields[number] = value
    return fields


def _read_value(message: bytes, at: int, wire: int) -> tuple[int | bytes, int]:
    if wire == _VARINT:
        return _read_varint(message, at)
    if wire == _BYTES:
        length, at = _read_varint(message, at)
    elif wire in (_FIXED64, _FIXED32):
        length = 8 if wire == _FIXED64 else 4
    else:
        raise _malformed(f"wire type {wire} is not in use")
    if length > len(message) - at:
        raise _malformed("a field reaches over the end of its message")
    return message[at : at + length], at + length


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[at : at + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + index + 1
    raise _malformed("a varint without an end, or of more than 64 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(fields: dict[int, int | bytes], number: int) -> bytes:
    value = fields.get(number, b"")
    assert isinstance(value, bytes)
    return value


def _text(fields: dict[int, int | bytes], number: int) -> str:
    try:
        return _bytes(fields, number).decode()
    except UnicodeDecodeError:
        raise _malformed(f"field {number} is not UTF-8") from None


def _malformed(problem: str) -> Refused:
    return Refused(Code.AGENT_FRAME, f"the attestation agent's answer is not ttrpc: {problem}")
