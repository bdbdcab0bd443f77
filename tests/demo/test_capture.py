"""What was on the wire: complete, in order, and parsed in both families."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from tng_demo.capture import SYN, capture, payload, segments
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
    from_server = [segment for segment in seen if segment.source == target and segment.source_port == 8080]
    assert payload(from_server) == body
    assert wire.stop() == seen


def test_a_file_cut_off_in_a_record_gives_what_is_whole() -> None:
    assert segments(b"") == []
    assert segments(b"\x00" * 24 + b"\x01\x02") == []
