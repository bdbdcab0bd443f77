"""Silence that outlasts connection tracking (112): what comes after it arrives whole, through both gateways.

A half-closed connection is forgotten after 60 s of silence (nf_conntrack_tcp_timeout_close_wait). Here the hosts forget
a little later than the gateways send their first probe, and sooner than the answer comes.
"""

from __future__ import annotations

import socket
import time

import pytest

from runtime.tunnels import Tunnel, ends
from tng_demo.lab import Host
from tng_runtime.kernel.liveness import LIVENESS

pytestmark = pytest.mark.netns

__all__ = ["ends"]

PATIENCE = 60.0
FORGETS = LIVENESS.idle + 5
SILENCE = FORGETS + 7
ANSWER = b"the answer that took so long " * 40_000


def forget_soon(host: Host) -> None:
    """Half-closed connections of this host's tracking live for ``FORGETS`` seconds without a packet."""
    for state in ("close_wait", "fin_wait", "last_ack"):
        path = f"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{state}"
        with host.inside(), open(path, "w", encoding="ascii") as file:
            file.write(str(FORGETS))


def test_112_an_answer_long_after_the_half_close_arrives_whole(ends: Tunnel) -> None:
    """From the server after the client's half-close, and from the client after the server's."""
    gateways = [ends.start("server"), ends.start("client")]
    for name in ("client", "server"):
        forget_soon(ends.lab[name])
    near, far = ends.connect()
    later_near, later_far = ends.connect()
    with near, far, later_near, later_far:
        half_close(near, far)
        half_close(later_far, later_near)
        time.sleep(SILENCE)  # it is silence that must be survived
        assert answer(far, near) == answer(later_near, later_far) == ANSWER
    for gateway in gateways:
        counts = r"event=closed .*\bbytes_sent=\d+ bytes_received=\d+ .*\bending=(?:plain_eof|tls_close_notify)"
        first = gateway.wait_for(counts, PATIENCE)
        gateway.wait_for(counts, PATIENCE, after=first.end())


def half_close(speaker: socket.socket, hearer: socket.socket) -> None:
    speaker.shutdown(socket.SHUT_WR)
    hearer.settimeout(PATIENCE)
    assert hearer.recv(1) == b""


def answer(speaker: socket.socket, hearer: socket.socket) -> bytes:
    """What arrives of the answer, to its end."""
    hearer.settimeout(PATIENCE)
    speaker.settimeout(PATIENCE)
    got = bytearray()
    offset = 0
    while offset < len(ANSWER):
        offset += speaker.send(ANSWER[offset : offset + 10_000])
        got += hearer.recv(1 << 20)
    speaker.shutdown(socket.SHUT_WR)
    while part := hearer.recv(1 << 20):
        got += part
    return bytes(got)
