"""What a program asks an HTTP proxy for: heads of requests to values, without I/O.

h11 reads a head after its lines were looked at: of what readers of HTTP disagree about (RFC 9112, sections 2.2, 5.2,
6.3 and 11.2) nothing passes. A line ends with CR LF and no other CR or LF is in the head, no line is folded, there is
one length, which is digits, or one transfer coding, which is chunked, and not both. What goes on to the origin is
written anew, so that it has what was judged and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import h11

from tng_runtime.errors import LinkCode, Refused

HEAD_BYTES = 32 << 10
MOST_FIELDS = 200
Fields = list[tuple[bytes, bytes]]

_HOST = rb"\[(?P<ipv6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?)"
_AUTHORITY = re.compile(rb"(?:" + _HOST + rb")(?::(?P<port>[0-9]{1,5}))?")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp]://([^/?#]+)([^#]*)")
_HTTP_PORT = 80
_SHOWN = re.compile(r":? b(?:ytearray\(b)?['\"].*", re.DOTALL)
_SAFE = (b"GET", b"HEAD", b"OPTIONS")
# RFC 9110, section 7.6.1, and what older programs say to proxies.
_BETWEEN_TWO = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer upgrade".split()
)
_FRAMING = frozenset({b"transfer-encoding", b"content-length", b"host"})


class Unfit(Refused):
    """A request that is none, or that no proxy forwards; ``status`` is what HTTP calls it."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(LinkCode.NET_DOOR, problem)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of ``host`` and ``port``: a stream, or ``forwarded``, to be sent there in the form for an origin.

    ``reader`` has read the head and reads the body, unless the request ``ends`` with its head.
    """

    host: str
    port: int
    forwarded: h11.Request | None
    reader: h11.Connection
    ends: bool
    head: bytes

    @property
    def may_be_repeated(self) -> bool:
        """Whether it may be sent once more, since it changes nothing (RFC 9110, section 9.2.2)."""
        return self.ends and self.forwarded is not None and self.forwarded.method in _SAFE


def read(head: bytes) -> Request:
    """Read a head with the empty line at its end; raises ``Unfit``."""
    _look(head)
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
    reader.receive_data(head)
    try:
        asked = reader.next_event()
        ends = isinstance(reader.next_event(), h11.EndOfMessage)
    except h11.RemoteProtocolError as error:
        raise Unfit(error.error_status_hint, why(error)) from None
    if not isinstance(asked, h11.Request):
        raise Unfit(400, "there is no request in the head")
    _framing_that_is_known(asked)
    if asked.method == b"CONNECT":
        if not ends:
            raise Unfit(400, "CONNECT has a body")
        host, port = _authority(asked.target, None)
        return Request(host, port, None, reader, ends, head)
    (host, port), named, target = _origin(asked)
    forwarded = h11.Request(
        method=asked.method, target=target, headers=[(b"Host", named), *_end_to_end(asked.headers.raw_items())]
    )
    return Request(host, port, forwarded, reader, ends, head)


def why(error: h11.ProtocolError) -> str:
    """What h11 says, without the bytes of which: they may be a password, and no log is the place for one."""
    return _SHOWN.sub("", str(error))


def _look(head: bytes) -> None:
    lines = head.split(b"\r\n")
    if len(lines) - 3 > MOST_FIELDS:
        raise Unfit(431, f"there are more than {MOST_FIELDS} fields in the head")
    for line in lines[:-2]:
        if b"\r" in line or b"\n" in line or b"\0" in line:
            raise Unfit(400, "a line of the head has a CR, LF or NUL inside")
        if not line or line[:1] in b" \t":
            raise Unfit(400, "a line of the head is empty, or continues the one before it")
    # h11 makes one of two lengths that agree.
    fields = [(name.lower(), value) for name, _, value in (line.partition(b":") for line in lines[1:-2])]
    framing = [(name, value) for name, value in fields if name.strip() in (b"content-length", b"transfer-encoding")]
    if len(framing) > 1 or any(b"," in value for name, value in framing if name == b"content-length"):
        raise Unfit(400, "the body has two lengths, or a length and a transfer coding")


def _framing_that_is_known(asked: h11.Request) -> None:
    if asked.http_version not in (b"1.0", b"1.1"):
        raise Unfit(505, "HTTP/1.0 and HTTP/1.1 are spoken here")
    codings = [value for name, value in asked.headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or asked.http_version < b"1.1"):
        raise Unfit(501, "the only transfer coding is chunked, of HTTP/1.1")


def _origin(asked: h11.Request) -> tuple[tuple[str, int], bytes, bytes]:
    """Host and port, the value of ``Host`` for it, and the target in the form for an origin (RFC 9112, section 3.2)."""
    if asked.target.startswith(b"/") or (asked.target == b"*" and asked.method == b"OPTIONS"):
        hosts = [value for name, value in asked.headers if name == b"host"]
        if len(hosts) != 1:
            raise Unfit(400, "a request without a host in its target has one `Host`")
        return _authority(hosts[0], _HTTP_PORT), hosts[0], asked.target
    if (found := _ABSOLUTE.fullmatch(asked.target)) is None:
        raise Unfit(400, "the target is not http://HOST/... (for others there is CONNECT), nor a path beside `Host`")
    authority, path = found.groups()
    if not path.startswith(b"/"):
        path = b"*" if asked.method == b"OPTIONS" and not path else b"/" + path
    # The one in the target counts, and whatever stands in `Host` is replaced by it (RFC 9112, section 3.2.2).
    return _authority(authority, _HTTP_PORT), authority, path


def _authority(text: bytes, default: int | None) -> tuple[str, int]:
    found = _AUTHORITY.fullmatch(text)
    port = default if found is None or found["port"] is None else int(found["port"])
    if found is None or port is None or not 1 <= port <= 0xFFFF:
        wanted = "HOST:PORT" if default is None else "HOST or HOST:PORT"
        raise Unfit(400, f"the destination is not {wanted}")
    return (found["ipv6"] or found["name"]).decode("ascii"), port


def _end_to_end(fields: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Without ``Host`` and what is meant for the next program only."""
    named = _named_by_connection(fields)
    if named & _FRAMING:
        raise Unfit(400, "`Connection` names what a request cannot do without")
    dropped = _BETWEEN_TWO | named | {b"host"}
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def answer_fields(fields: Sequence[tuple[bytes, bytes]]) -> Fields:
    """The fields of an origin's answer that go on to the program."""
    named = _named_by_connection(fields)
    dropped = (_BETWEEN_TWO | named | {b"transfer-encoding"}) - {b"content-length"}
    return [(name, value) for name, value in fields if name.lower() not in dropped]


def _named_by_connection(fields: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    """What is meant for the next program only, by its own word (RFC 9110, section 7.6.1)."""
    values = [value for name, value in fields if name.lower() == b"connection"]
    return {each.strip().lower() for value in values for each in value.split(b",")}
