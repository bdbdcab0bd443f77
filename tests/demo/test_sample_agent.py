"""The sample agent as a program, and as the ttrpc server that tests put in the way of a tunnel."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tng_demo import sample_ttrpc as ttrpc
from tng_demo.process import Process
from tng_demo.sample_agent import SERVICE, Behaviour, SampleAgent


@pytest.fixture
def path() -> Iterator[Path]:
    """A socket's path in a directory whose name leaves room for it (unix(7): 108 bytes)."""
    directory = Path(tempfile.mkdtemp(prefix="tng-"))
    yield directory / "aa.sock"
    shutil.rmtree(directory)


def request(stream: int, method: str, payload: bytes = b"", service: str = SERVICE) -> bytes:
    data = ttrpc.bytes_field(1, service.encode()) + ttrpc.bytes_field(2, method.encode())
    return ttrpc.frame(stream, data + ttrpc.bytes_field(3, payload), kind=ttrpc.REQUEST)


def ask(path: Path, frame: bytes) -> dict[int, int | bytes]:
    """The fields of the answer to one request."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(path))
        client.sendall(frame)
        length, stream, kind, flags = ttrpc.HEADER.unpack(client.recv(10, socket.MSG_WAITALL))
        assert (stream, kind, flags) == (ttrpc.HEADER.unpack(frame[:10])[1], ttrpc.RESPONSE, 0)
        return ttrpc.read_fields(client.recv(length, socket.MSG_WAITALL))


def ended(client: socket.socket) -> bool:
    """Whether the agent hung up; with bytes of ours unread that is a reset (unix(7))."""
    client.settimeout(60)
    try:
        return client.recv(10) == b""
    except ConnectionResetError:
        return True


def test_the_program_says_loudly_that_it_proves_nothing_and_goes_cleanly(path: Path, tmp_path: Path) -> None:
    process = Process.start([sys.executable, "-m", "tng_demo.sample_agent", "--socket", str(path)], tmp_path / "log")
    try:
        process.wait_for("listening on")
        assert "THIS PROVES NOTHING" in process.output()
        assert ttrpc.read_fields(_bytes(ask(path, request(1, "GetTeeType"))[2])) == {1: b"sample"}
    finally:
        assert process.stop() in (0, -signal.SIGTERM)
    assert not path.exists()


def test_sample_evidence_carries_the_report_data(path: Path) -> None:
    with SampleAgent(path):
        answer = ask(path, request(7, "GetEvidence", ttrpc.bytes_field(1, b"\x01" * 48)))
    evidence = json.loads(_bytes(ttrpc.read_fields(_bytes(answer[2]))[1]))
    assert evidence == {"svn": "1", "report_data": base64.b64encode(b"\x01" * 48).decode()}


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        pytest.param(request(1, "GetEvidence", service="other.Service"), b"no service 'other.Service'", id="service"),
        pytest.param(request(1, "Reboot"), b"no method 'Reboot'", id="method"),
    ],
)
def test_what_it_does_not_know_is_an_error_and_not_silence(path: Path, frame: bytes, message: bytes) -> None:
    with SampleAgent(path):
        status = ttrpc.read_fields(_bytes(ask(path, frame)[1]))
    assert status == {1: 12, 2: message}


def test_a_socket_that_a_killed_agent_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    with SampleAgent(path):
        assert 2 in ask(path, request(1, "GetTeeType"))


def test_a_client_that_sends_junk_does_not_disturb_another(path: Path) -> None:
    with SampleAgent(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"\xff" * 100)
        assert ended(client)
        assert 2 in ask(path, request(1, "GetTeeType"))


def test_closing_ends_a_client_that_waits(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        with SampleAgent(path, Behaviour.SILENT) as agent:
            client.connect(str(path))
            client.sendall(request(1, "GetTeeType"))
        assert ended(client)
        assert agent.calls in (["GetTeeType"], [])


def _bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value
