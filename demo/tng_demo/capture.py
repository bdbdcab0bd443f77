"""What a wire carried: tcpdump on a host's interface, read back as TCP segments.

A capture ends with a datagram of our own that must show up in the file first, so everything that was sent
before the end is in it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tng_demo import kernel
from tng_demo.lab import INTERFACE, Host, LabError

SYN, FIN, RST, ACK = 0x02, 0x01, 0x04, 0x10  # RFC 9293, 3.1

# Source and destination with their ports.
Flow = tuple[str, int, str, int]

_MARKER_PORT = 9  # discard
_RECORD = struct.Struct("=IIII")  # pcap-savefile(5): seconds, microseconds, captured length, length
_FILE_HEADER = 24
_ETHERNET = 14


@dataclass(frozen=True, slots=True)
class Segment:
    """A TCP segment as it was on the wire; ``flags`` are the header's bits, ``time`` is in seconds since the epoch."""

    time: float
    family: str
    source: str
    source_port: int
    destination: str
    destination_port: int
    sequence: int
    flags: int
    payload: bytes

    @property
    def opens(self) -> bool:
        """Whether it is a client's SYN."""
        return self.flags & (SYN | ACK) == SYN


class Capture:
    """A running capture; ``stop`` gives what was on the wire."""

    def __init__(self, host: Host, towards: Host, path: Path) -> None:
        self._host, self._towards, self.path = host, towards, path
        # -Z root: tcpdump would otherwise give up the right to write where we told it to.
        argv = (
            "tcpdump",
            "-i",
            INTERFACE,
            "-p",
            "-n",
            "-U",
            "--immediate-mode",
            "-B",
            "65536",
            "-s",
            "0",
            "-Z",
            "root",
        )
        self._process = host.start(*argv, "-w", str(path), f"tcp or (udp port {_MARKER_PORT})")
        self._process.wait_for("listening on")

    def stop(self) -> list[Segment]:
        """End the capture and return its TCP segments in their order. Calling it twice gives the same."""
        if self._process.alive():
            self._await_marker()
            self._process.stop()
        return segments(self.path.read_bytes())

    def _await_marker(self) -> None:
        # Sent again when it does not show up: the ring drops what comes while tcpdump does not get the processor.
        marker = b"tng capture ends " + os.urandom(16)
        end = time.monotonic() + 60
        with kernel.changes_of(self.path) as changes:
            with self._host.inside():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sock:
                while marker not in _tail(self.path):
                    if time.monotonic() > end:
                        raise LabError(f"tcpdump did not see our datagram:\n{self._process.output()}")
                    sock.sendto(marker, (self._towards.ipv4, _MARKER_PORT))
                    changes.wait(time.monotonic() + 0.5)


@contextlib.contextmanager
def capture(host: Host, towards: Host, path: Path) -> Iterator[Capture]:
    """Capture TCP on ``host``'s wire into the pcap file ``path``; ``towards`` is any other host of the lab."""
    running = Capture(host, towards, path)
    try:
        yield running
    finally:
        running.stop()


def segments(pcap: bytes) -> list[Segment]:
    """The TCP segments of a pcap file of this machine with Ethernet frames; other packets are left out."""
    found = []
    offset = _FILE_HEADER
    while offset + _RECORD.size <= len(pcap):
        seconds, micros, captured, _ = _RECORD.unpack_from(pcap, offset)
        offset += _RECORD.size
        segment = _segment(seconds + micros / 1e6, pcap[offset : offset + captured])
        if segment is not None:
            found.append(segment)
        offset += captured
    return found


def streams(seen: Sequence[Segment]) -> dict[Flow, bytes]:
    """The bytes of each direction of each connection that has any, in the order of the stream, repetitions left out."""
    found: dict[Flow, bytearray] = {}
    starts: dict[Flow, int] = {}
    for segment in seen:
        flow = (segment.source, segment.source_port, segment.destination, segment.destination_port)
        if segment.flags & SYN:
            starts[flow], found[flow] = segment.sequence + 1, bytearray()
        elif segment.payload:
            stream = found.setdefault(flow, bytearray())
            offset = (segment.sequence - starts.setdefault(flow, segment.sequence)) % (1 << 32)
            stream.extend(bytes(max(0, offset + len(segment.payload) - len(stream))))
            stream[offset : offset + len(segment.payload)] = segment.payload
    return {flow: bytes(stream) for flow, stream in found.items() if stream}


def tls_records(stream: bytes) -> list[tuple[int, int]]:
    """Content type and length of each TLS record that ``stream`` consists of; raises ``ValueError`` if it is not TLS.

    RFC 8446, 5.1: type 20 to 23, legacy version 3.1 or 3.3, at most 2^14 + 256 bytes.
    """
    records = []
    offset = 0
    while offset < len(stream):
        kind, major, minor, length = struct.unpack_from("!BBBH", stream.ljust(offset + 5, b"\0"), offset)
        if not (20 <= kind <= 23 and major == 3 and minor in (1, 3) and length <= (1 << 14) + 256):
            raise ValueError(f"not a TLS record at byte {offset}: {stream[offset : offset + 20]!r}")
        records.append((kind, length))
        offset += 5 + length
    return records


def _segment(when: float, frame: bytes) -> Segment | None:
    kind = int.from_bytes(frame[12:14])
    packet = frame[_ETHERNET:]
    if kind == 0x0800 and packet[9] == socket.IPPROTO_TCP:
        header, total = (packet[0] & 0x0F) * 4, int.from_bytes(packet[2:4])
        family, length, addresses = socket.AF_INET, 4, packet[12:20]
    elif kind == 0x86DD and packet[6] == socket.IPPROTO_TCP:
        header, total = 40, 40 + int.from_bytes(packet[4:6])
        family, length, addresses = socket.AF_INET6, 16, packet[8:40]
    else:
        return None
    # Offloaded segments above 64 KiB say a length of 0 (BIG TCP); then the frame's own length counts.
    tcp = packet[header : total if total > header else None]
    source_port, destination_port, sequence = struct.unpack_from("!HHI", tcp)
    return Segment(
        when,
        "ipv4" if family == socket.AF_INET else "ipv6",
        socket.inet_ntop(family, addresses[:length]),
        source_port,
        socket.inet_ntop(family, addresses[length : 2 * length]),
        destination_port,
        sequence,
        tcp[13],
        tcp[(tcp[12] >> 4) * 4 :],
    )


def _tail(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 20)))
        return file.read()
