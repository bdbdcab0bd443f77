"""Sockets to the attestation service; that they carry the mark is counted in test_service.py."""

from __future__ import annotations

import socket

import pytest

from tng_runtime.kernel.liveness import LIVENESS
from tng_runtime.tunnel.marked import MarkedBackend, _Socket, _Stream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mark", [0, pytest.param(565, marks=pytest.mark.netns)])
async def test_a_service_that_is_gone_is_noticed(mark: int) -> None:
    """And a call ends as calls do, not with a reset."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stream = await MarkedBackend(mark).connect_tcp(*listener.getsockname())
    assert isinstance(stream, _Stream)
    assert isinstance(stream._stream, _Socket)
    sock = stream._stream._sock
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == LIVENESS.idle
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == LIVENESS.unanswered * 1000
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER) == 0
    await stream.aclose()
