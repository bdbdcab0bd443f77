"""What the processes of one instance say to each other: typed, bounded, versioned, without I/O.

A message is a header of six bytes, big endian (u8 version, u8 kind, u32 length of what follows), and the fields of its
dataclass in their order. Integers have 8 bytes, text and bytes a length before them, what may be None a byte before it.
There is one way to write a value and no other is read; so for any bytes comes a message or ``MessageError``.

Descriptors travel beside the bytes (SCM_RIGHTS, unix(7)): ``descriptors`` says how many belong to a message, and they
arrive in the order of the messages that own them.

    supervisor -> nursery: Spawn                      nursery -> supervisor: Spawned, NotSpawned, Ended
    supervisor -> worker:  Listen, UseJudge, Pause, Drain, Ping
                                                      worker -> supervisor:  Ready, Failed, Paused, Tally, Lost, Pong
    supervisor -> judge:   Attach, AgentGiven, AgentAway, Ping
                                                      judge -> supervisor:   Ready, Failed, AgentWanted,
                                                                             JudgeTally, Lost, Pong
    worker -> judge:       CertificateWanted, VerdictWanted
    judge -> worker:       Certificate, VerdictGiven, Declined
    supervisor -> control: Serve, Hide, Snapshot, Connections
                                                      control -> supervisor: Ready, SnapshotWanted, Lost,
                                                                             ConnectionsWanted
    supervisor -> worker:  ConnectionsWanted          worker -> supervisor:  Connections
    new supervisor -> old: TakeOver, Commit, Loaded, Done
    old supervisor -> new: Inherit, Inherited, Yielded, Released
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from types import NoneType, UnionType
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

VERSION = 2
# A peer's certificate message has at most 1 MiB; the rest of a message is short.
MAX_BODY = 2 << 20
MAX_ITEMS = 4096

_HEADER = struct.Struct(">BBI")
_LENGTH = struct.Struct(">I")
_INTEGER = struct.Struct(">q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class MessageError(Exception):
    """The bytes are no message of this version."""


@dataclass(frozen=True, slots=True)
class Message:
    """One of the dataclasses below; ``descriptors`` of it travel with each."""

    descriptors: ClassVar[int] = 0


@dataclass(frozen=True, slots=True)
class Spawn(Message):
    """Fork a child: ``role`` is judge, worker or control. With its channel to the supervisor."""

    descriptors: ClassVar[int] = 1
    number: int
    role: str


@dataclass(frozen=True, slots=True)
class Spawned(Message):
    """Child ``number`` runs; with its pidfd (pidfd_open(2))."""

    descriptors: ClassVar[int] = 1
    number: int
    pid: int


@dataclass(frozen=True, slots=True)
class NotSpawned(Message):
    """Child ``number`` could not be forked."""

    number: int
    reason: str


@dataclass(frozen=True, slots=True)
class Ended(Message):
    """Child ``number`` ended; ``code`` is its exit status, negative for a signal."""

    number: int
    code: int


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """The child can do its work."""


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """The child cannot start: a ``HostError``."""

    message: str
    hint: str
    exit_code: int


@dataclass(frozen=True, slots=True)
class Ping(Message):
    """Say ``Pong``, from the event loop that does the work."""


@dataclass(frozen=True, slots=True)
class Pong(Message):
    """The answer to ``Ping``."""


@dataclass(frozen=True, slots=True)
class Listen(Message):
    """Accept on this socket for the entry at ``entry`` of the manifest."""

    descriptors: ClassVar[int] = 1
    entry: int


@dataclass(frozen=True, slots=True)
class UseJudge(Message):
    """Ask the judge at the other end of this channel from now on."""

    descriptors: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Drain(Message):
    """Accept no more, and end when no connection is left; after ``milliseconds`` (None: never) the rest is reset."""

    milliseconds: int | None


@dataclass(frozen=True, slots=True)
class Pause(Message):
    """Accept no more until ``Listen`` comes again; ``Paused`` is the answer."""


@dataclass(frozen=True, slots=True)
class Paused(Message):
    """The worker accepts nothing, and has not since the ``Pause``."""


@dataclass(frozen=True, slots=True)
class Tally(Message):
    """What happened in one entry of a worker since its start: ``counts.EntryCounts``, and what it has open now.

    ``endings`` and ``ended``, ``codes`` and ``refused`` belong together; bytes count those of open connections.
    Durations are the numbers of ``counts.Durations``: its buckets, and their sum in microseconds.
    """

    entry: int
    accepted: int
    opened: int
    open: int
    left: int
    bugs: int
    sent: int
    received: int
    endings: tuple[str, ...]
    ended: tuple[int, ...]
    codes: tuple[str, ...]
    refused: tuple[int, ...]
    handshakes: tuple[int, ...]
    handshake_microseconds: int
    verdicts_kept: int
    verdicts_given: int
    verdicts_refused: int
    verdict_waits: tuple[int, ...]
    verdict_microseconds: int


@dataclass(frozen=True, slots=True)
class JudgeTally(Message):
    """How one entry stands with the judge: its certificate's end, verdicts kept now, calls since the judge's start."""

    entry: int
    not_after: datetime | None
    refusal: str | None
    kept: int
    agent: tuple[int, ...]
    agent_microseconds: int
    agent_failed: int
    service: tuple[int, ...]
    service_microseconds: int
    service_failed: int


@dataclass(frozen=True, slots=True)
class Lost(Message):
    """Lines of the log that this process had to drop since its start."""

    lines: int


@dataclass(frozen=True, slots=True)
class Serve(Message):
    """Answer over HTTP on this listening socket; ``private``: whoever reaches it may see who is connected."""

    descriptors: ClassVar[int] = 1
    private: int


@dataclass(frozen=True, slots=True)
class Hide(Message):
    """Answer on private sockets only, and close the others."""


@dataclass(frozen=True, slots=True)
class SnapshotWanted(Message):
    """How the instance stands."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Snapshot(Message):
    """A part of the answer, JSON in UTF-8; with ``more`` 0 the last one."""

    ticket: int
    more: int
    data: bytes


@dataclass(frozen=True, slots=True)
class ConnectionsWanted(Message):
    """The open connections of this worker, or of all."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Connections(Message):
    """Those of one worker: a JSON array in UTF-8, of ``total`` that are open; with ``more`` 0 the last part."""

    ticket: int
    more: int
    total: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Attach(Message):
    """A worker's channel, for the judge."""

    descriptors: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class AgentWanted(Message):
    """Connect to the attestation agent of this entry: its socket may be for root alone."""

    ticket: int
    entry: int


@dataclass(frozen=True, slots=True)
class AgentGiven(Message):
    """The connected socket."""

    descriptors: ClassVar[int] = 1
    ticket: int


@dataclass(frozen=True, slots=True)
class AgentAway(Message):
    """The agent could not be reached; ``error`` is an errno."""

    ticket: int
    error: int


@dataclass(frozen=True, slots=True)
class CertificateWanted(Message):
    """A certificate of its own for one handshake (``refresh_interval`` 0), which ``source`` caused."""

    ticket: int
    entry: int
    source: str


@dataclass(frozen=True, slots=True)
class Certificate(Message):
    """What an entry shows from now on, or, with a ``ticket`` that is not 0, in one handshake; key in PKCS#8, DER."""

    ticket: int
    entry: int
    certificate: bytes
    private_key: bytes
    not_after: datetime


@dataclass(frozen=True, slots=True)
class VerdictWanted(Message):
    """Whether an entry believes the certificates (DER) that a peer, whose network is ``source``, showed."""

    ticket: int
    entry: int
    source: str
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VerdictGiven(Message):
    """It does; the other fields are those of ``attest.token.Verdict``. It may be used again until ``kept_until``."""

    ticket: int
    kept_until: datetime | None
    expires_at: datetime | None
    policy_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Declined(Message):
    """``Refused`` is the answer to the request with this ticket."""

    ticket: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class TakeOver(Message):
    """A new supervisor asks the running one for its place; ``drain`` is what its connections get, in milliseconds."""

    drain: int | None


@dataclass(frozen=True, slots=True)
class Inherit(Message):
    """A listening socket of the old instance; ``terms`` are those of its entry (``kernel.reused``)."""

    descriptors: ClassVar[int] = 1
    terms: bytes


@dataclass(frozen=True, slots=True)
class Inherited(Message):
    """That was the last of them."""


@dataclass(frozen=True, slots=True)
class Commit(Message):
    """The new instance is ready but for the rules: accept no more, and touch them no more."""


@dataclass(frozen=True, slots=True)
class Yielded(Message):
    """Done so."""


@dataclass(frozen=True, slots=True)
class Loaded(Message):
    """The new ruleset is loaded: give up the guard."""


@dataclass(frozen=True, slots=True)
class Released(Message):
    """Done so; with the lock of the instance."""

    descriptors: ClassVar[int] = 1


@dataclass(frozen=True, slots=True)
class Done(Message):
    """The new instance serves: the old one lets its connections end, and goes."""


# The number of a kind is its place here.
KINDS: tuple[type[Message], ...] = (
    Spawn,
    Spawned,
    NotSpawned,
    Ended,
    Ready,
    Failed,
    Listen,
    UseJudge,
    Drain,
    Tally,
    Attach,
    AgentWanted,
    AgentGiven,
    AgentAway,
    CertificateWanted,
    Certificate,
    VerdictWanted,
    VerdictGiven,
    Declined,
    Pause,
    Paused,
    TakeOver,
    Inherit,
    Inherited,
    Commit,
    Yielded,
    Loaded,
    Released,
    Done,
    Ping,
    Pong,
    JudgeTally,
    Lost,
    Serve,
    Hide,
    SnapshotWanted,
    Snapshot,
    ConnectionsWanted,
    Connections,
)


def encode(message: Message) -> bytes:
    """The bytes of ``message``; raises ``MessageError`` if it is larger than a message may be."""
    kind = KINDS.index(type(message))
    try:
        body = b"".join(codec.write(getattr(message, name)) for name, codec in _FIELDS[kind])
    except struct.error as error:
        raise MessageError(f"{type(message).__name__} cannot be written: {error}") from None
    if len(body) > MAX_BODY:
        raise MessageError(f"{type(message).__name__} has {len(body)} bytes, more than {MAX_BODY}")
    return _HEADER.pack(VERSION, kind, len(body)) + body


class Reader:
    """Bytes in, in whatever pieces, messages out."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that ``data`` completes; raises ``MessageError``, after which nothing more is read."""
        self._data += data
        while len(self._data) >= _HEADER.size:
            version, kind, length = _HEADER.unpack_from(self._data)
            if version != VERSION:
                raise MessageError(f"version {version}, not {VERSION}")
            if kind >= len(KINDS) or length > MAX_BODY:
                raise MessageError(f"a message of kind {kind} with {length} bytes")
            if len(self._data) < (end := _HEADER.size + length):
                return
            body = bytes(self._data[_HEADER.size : end])
            del self._data[:end]
            yield _decode(kind, body)

    @property
    def holds(self) -> int:
        """Bytes of a message that is not complete."""
        return len(self._data)


@dataclass(frozen=True, slots=True)
class _Codec:
    write: Callable[[Any], bytes]
    read: Callable[[bytes, int], tuple[Any, int]]


def _decode(kind: int, body: bytes) -> Message:
    values: list[object] = []
    at = 0
    for _, codec in _FIELDS[kind]:
        value, at = codec.read(body, at)
        values.append(value)
    if at != len(body):
        raise MessageError(f"{KINDS[kind].__name__} is followed by {len(body) - at} bytes")
    return KINDS[kind](*values)


def _part(body: bytes, at: int, length: int) -> bytes:
    if length > len(body) - at:
        raise MessageError("a field reaches over the end of its message")
    return body[at : at + length]


def _read_length(body: bytes, at: int) -> tuple[int, int]:
    return _LENGTH.unpack(_part(body, at, _LENGTH.size))[0], at + _LENGTH.size


def _read_bytes(body: bytes, at: int) -> tuple[bytes, int]:
    length, at = _read_length(body, at)
    return _part(body, at, length), at + length


def _write_bytes(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


def _read_text(body: bytes, at: int) -> tuple[str, int]:
    data, at = _read_bytes(body, at)
    try:
        return data.decode(), at
    except UnicodeDecodeError:
        raise MessageError("text that is not UTF-8") from None


def _read_integer(body: bytes, at: int) -> tuple[int, int]:
    return _INTEGER.unpack(_part(body, at, _INTEGER.size))[0], at + _INTEGER.size


def _read_time(body: bytes, at: int) -> tuple[datetime, int]:
    microseconds, at = _read_integer(body, at)
    try:
        return _EPOCH + microseconds * _MICROSECOND, at
    except OverflowError:
        raise MessageError("a time beyond the calendar") from None


def _items(item: _Codec) -> _Codec:
    def write(values: tuple[object, ...]) -> bytes:
        if len(values) > MAX_ITEMS:
            raise MessageError(f"{len(values)} items, more than {MAX_ITEMS}")
        return _LENGTH.pack(len(values)) + b"".join(map(item.write, values))

    def read(body: bytes, at: int) -> tuple[tuple[object, ...], int]:
        count, at = _read_length(body, at)
        if count > MAX_ITEMS:
            raise MessageError(f"{count} items, more than {MAX_ITEMS}")
        values = []
        for _ in range(count):
            value, at = item.read(body, at)
            values.append(value)
        return tuple(values), at

    return _Codec(write, read)


def _optional(some: _Codec) -> _Codec:
    def read(body: bytes, at: int) -> tuple[object, int]:
        match _part(body, at, 1):
            case b"\0":
                return None, at + 1
            case b"\1":
                return some.read(body, at + 1)
            case _:
                raise MessageError("neither there nor absent")

    return _Codec(lambda value: b"\0" if value is None else b"\1" + some.write(value), read)


_CODECS: dict[object, _Codec] = {
    int: _Codec(_INTEGER.pack, _read_integer),
    bytes: _Codec(_write_bytes, _read_bytes),
    str: _Codec(lambda value: _write_bytes(value.encode(errors="backslashreplace")), _read_text),
    datetime: _Codec(lambda value: _INTEGER.pack((value - _EPOCH) // _MICROSECOND), _read_time),
}


def _codec(hint: object) -> _Codec:
    if get_origin(hint) is tuple:
        return _items(_codec(get_args(hint)[0]))
    if get_origin(hint) is UnionType:
        (some,) = (part for part in get_args(hint) if part is not NoneType)
        return _optional(_codec(some))
    return _CODECS[hint]


def _fields(kind: type[Message]) -> tuple[tuple[str, _Codec], ...]:
    hints = get_type_hints(kind)
    return tuple((one.name, _codec(hints[one.name])) for one in fields(kind))


_FIELDS = tuple(map(_fields, KINDS))
