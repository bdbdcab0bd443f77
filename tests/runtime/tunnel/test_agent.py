"""The agent's client against the sample agent, and against agents that misbehave, over real unix sockets."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tng_demo import sample_ttrpc
from tng_demo.sample_agent import Behaviour, SampleAgent
from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused
from tng_runtime.tunnel import ttrpc
from tng_runtime.tunnel.agent import DEADLINE, Collected, collect_evidence

pytestmark = pytest.mark.anyio
REPORT_DATA = bytes(range(48))
Answer = Callable[[socket.socket, sample_ttrpc.Call], None]


@contextlib.contextmanager
def scripted(path: Path, answer: Answer) -> Iterator[None]:
    """An agent for one connection that does ``answer`` for each call on it, then hangs up."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.fspath(path))
    listening.listen()

    def serve() -> None:
        with listening.accept()[0] as client, contextlib.suppress(OSError, ValueError, EOFError):
            while True:
                header = client.recv(10, socket.MSG_WAITALL)
                if len(header) < 10:
                    return
                data = client.recv(sample_ttrpc.HEADER.unpack(header)[0], socket.MSG_WAITALL)
                answer(client, sample_ttrpc.read_call(header, data))

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()
    listening.close()


def reply(client: socket.socket, call: sample_ttrpc.Call, data: bytes) -> None:
    client.sendall(sample_ttrpc.frame(call.stream, data))


async def test_evidence_is_collected_in_the_order_of_the_protocol(agent: SampleAgent) -> None:
    collected = await collect_evidence(str(agent.path), REPORT_DATA)
    assert agent.calls == ["GetEvidence", "GetTeeType", "GetAdditionalEvidence"]
    assert (collected.tee, collected.additional) == ("sample", None)
    assert base64.b64decode(json.loads(collected.evidence)["report_data"]) == REPORT_DATA


async def test_additional_evidence_is_kept_as_it_came(agent: SampleAgent) -> None:
    agent.behaviour = Behaviour.ADDITIONAL
    collected = await collect_evidence(str(agent.path), REPORT_DATA)
    assert collected.additional is not None
    assert list(json.loads(collected.additional)) == ["sampledevice"]


async def test_an_error_to_the_additional_call_means_none(socket_dir: Path) -> None:
    def answer(client: socket.socket, call: sample_ttrpc.Call) -> None:
        if call.method == "GetAdditionalEvidence":
            reply(client, call, sample_ttrpc.failure(12, "unimplemented"))
        else:
            reply(client, call, sample_ttrpc.response(sample_ttrpc.bytes_field(1, b"x")))

    with scripted(socket_dir / "s", answer):
        assert await collect_evidence(str(socket_dir / "s"), REPORT_DATA) == Collected("x", b"x", None)


async def test_evidence_of_nearly_4_mib_arrives_whole(socket_dir: Path) -> None:
    large = os.urandom(ttrpc.MAX_DATA - 100)

    def answer(client: socket.socket, call: sample_ttrpc.Call) -> None:
        value = {"GetEvidence": large, "GetTeeType": b"tdx"}.get(call.method, b"")
        reply(client, call, sample_ttrpc.response(sample_ttrpc.bytes_field(1, value)))

    with scripted(socket_dir / "s", answer):
        assert (await collect_evidence(str(socket_dir / "s"), REPORT_DATA)).evidence == large


def short(code: Code) -> float:
    """A deadline that a call ends by where that is what ends it, and no other call on a busy machine."""
    return 0.3 if code is Code.AGENT_DEADLINE else DEADLINE


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(Behaviour.OTHER_STREAM, Code.AGENT_FRAME, id="h62_another_stream"),
        pytest.param(Behaviour.DATA_FRAME, Code.AGENT_FRAME, id="h62_type_3"),
        pytest.param(Behaviour.OVERSIZED, Code.AGENT_FRAME, id="h62_more_than_4_mib"),
        pytest.param(Behaviour.HALF_FRAME, Code.AGENT_DEADLINE, id="h62_half_a_frame"),
        pytest.param(Behaviour.CLOSES, Code.AGENT_FRAME, id="h62_hangs_up"),
        pytest.param(Behaviour.ERROR, Code.AGENT_STATUS, id="h62_error_status"),
        pytest.param(Behaviour.SILENT, Code.AGENT_DEADLINE, id="h62_nothing"),
    ],
)
async def test_a_misbehaving_agent_is_an_error_within_the_deadline(
    agent: SampleAgent, behaviour: Behaviour, code: Code
) -> None:
    """It is over in time, no descriptor stays behind, and the next collection from an honest agent works."""
    before = len(os.listdir("/proc/self/fd"))
    agent.behaviour = behaviour
    started = time.monotonic()
    with pytest.raises(Refused) as caught:
        await collect_evidence(str(agent.path), REPORT_DATA, deadline=short(code))
    assert caught.value.code == code
    assert time.monotonic() - started < DEADLINE
    agent.close()
    agent.behaviour = Behaviour.HONEST
    with agent:
        assert (await collect_evidence(str(agent.path), REPORT_DATA)).tee == "sample"
    assert len(os.listdir("/proc/self/fd")) <= before


def _drip(client: socket.socket, call: sample_ttrpc.Call) -> None:
    for byte in sample_ttrpc.frame(call.stream, sample_ttrpc.response(b"x" * 100)):
        client.sendall(bytes([byte]))
        time.sleep(0.05)


def _half_and_close(client: socket.socket, call: sample_ttrpc.Call) -> None:
    client.sendall(sample_ttrpc.frame(call.stream, sample_ttrpc.response(b"x" * 100))[:40])
    raise EOFError


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        pytest.param(_drip, Code.AGENT_DEADLINE, id="h62_drips"),
        pytest.param(_half_and_close, Code.AGENT_FRAME, id="h62_half_a_frame_then_nothing"),
        pytest.param(lambda c, call: reply(c, call, b"\xff" * 20), Code.AGENT_FRAME, id="h62_junk_data"),
        pytest.param(lambda c, call: reply(c, call, b""), Code.AGENT_STATUS, id="h62_empty_evidence"),
        pytest.param(lambda c, _: c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Code.AGENT_FRAME, id="h62_http"),
    ],
)
async def test_bytes_that_are_no_answer_are_refused(socket_dir: Path, answer: Answer, code: Code) -> None:
    with scripted(socket_dir / "s", answer):
        with pytest.raises(Refused) as caught:
            await collect_evidence(str(socket_dir / "s"), REPORT_DATA, deadline=short(code))
        assert caught.value.code == code


async def test_an_agents_own_words_are_told_and_bounded(socket_dir: Path) -> None:
    def answer(client: socket.socket, call: sample_ttrpc.Call) -> None:
        reply(client, call, sample_ttrpc.failure(13, "no device\n" + "x" * 5000))

    with scripted(socket_dir / "s", answer):
        with pytest.raises(Refused, match="GetEvidence: error 13 'no device") as caught:
            await collect_evidence(str(socket_dir / "s"), REPORT_DATA)
        assert len(caught.value.detail) < 300
        assert "\n" not in caught.value.detail


@pytest.mark.parametrize("name", ["absent", "file", "x" * 120])
async def test_a_socket_that_is_not_there_is_named(socket_dir: Path, name: str) -> None:
    (socket_dir / "file").touch()
    with pytest.raises(Refused, match=name) as caught:
        await collect_evidence(str(socket_dir / name), REPORT_DATA)
    assert caught.value.code == Code.AGENT_UNREACHABLE


async def test_h63_an_agent_that_went_away_and_returned_is_asked_again(agent: SampleAgent) -> None:
    agent.close()
    with pytest.raises(Refused):
        await collect_evidence(str(agent.path), REPORT_DATA)
    agent.start()
    assert (await collect_evidence(str(agent.path), REPORT_DATA)).tee == "sample"
