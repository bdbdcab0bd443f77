"""What was on the wire: complete, in order, and parsed in both families."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tng_demo.capture import SYN, Segment, capture, segments, streams, tls_records
from tng_demo.lab import Lab


@pytest.mark.netns
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def test_a_capture_holds_every_byte_that_was_sent_before_its_end(
    hosts: Lab, family: socket.AddressFamily, tmp_path: Path
) -> None:
    client, server = hosts["client"], hosts["server"]
    target = server.ipv6 if family == socket.AF_INET6 else server.ipv4
    body = os.urandom(300_000)
    with server.inside():
        listener = socket.create_server((target, 8080), family=family)

    def serve() -> None:
        connection = listener.accept()[0]
        with connection:
            connection.sendall(body)

    with listener, capture(client, server, tmp_path / "wire.pcap") as wire:
        thread = threading.Thread(target=serve)
        thread.start()
        with client.inside(), socket.create_connection((target, 8080)) as connection:
            while connection.recv(65536):
                pass
        thread.join()
        seen = wire.stop()
    opening = [segment for segment in seen if segment.opens]
    assert [(segment.destination, segment.destination_port, segment.flags & SYN) for segment in opening] == [
        (target, 8080, SYN)
    ]
    assert [stream for flow, stream in streams(seen).items() if flow[:2] == (target, 8080)] == [body]
    assert wire.stop() == seen


def test_a_file_cut_off_in_a_record_gives_what_is_whole() -> None:
    assert segments(b"") == []
    assert segments(b"\x00" * 24 + b"\x01\x02") == []


def test_repeated_and_reordered_segments_make_one_stream() -> None:
    def segment(sequence: int, data: bytes, flags: int = 0) -> Segment:
        return Segment(0.0, "ipv4", "192.0.2.1", 1, "192.0.2.2", 2, sequence % (1 << 32), flags, data)

    start = (1 << 32) - 3
    seen = [
        segment(start, b"", SYN),
        segment(start + 4, b"def"),
        segment(start + 1, b"abc"),
        segment(start + 1, b"abc"),
    ]
    assert streams(seen) == {("192.0.2.1", 1, "192.0.2.2", 2): b"abcdef"}


def test_tls_is_told_from_plaintext() -> None:
    assert tls_records(b"\x16\x03\x01\x00\x02hi\x17\x03\x03\x00\x01x") == [(22, 2), (23, 1)]
    for plain in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x02hiGET / HTTP/1.1"):
        with pytest.raises(ValueError, match="not a TLS record"):
            tls_records(plain)
