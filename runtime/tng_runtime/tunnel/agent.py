"""The client of the attestation agent: evidence for our own certificate, over ttrpc on a unix socket.

Each collection is a connection of its own, so an agent that went away and came back needs no repair here. The whole
collection has one deadline; every fault of the agent is ``Refused`` with an ``RA-AGENT-...`` code.
Methods and messages: attestation-agent/protos/attestation-agent.proto of confidential-containers/guest-components.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio
from anyio.abc import SocketStream

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused
from tng_runtime.tunnel import ttrpc

SERVICE = "attestation_agent.AttestationAgentService"
DEADLINE = 20.0
_CHUNK = 1 << 16

# Connects to the unix socket at a path; raises ``OSError`` or ``ValueError``.
Connect = Callable[[str], Awaitable[SocketStream]]


@dataclass(frozen=True, slots=True)
class Collected:
    """What the agent gave: its TEE's name, the evidence, and that of further devices (a JSON object) if any."""

    tee: str
    evidence: bytes
    additional: bytes | None


async def collect_evidence(
    aa_path: str, report_data: bytes, deadline: float = DEADLINE, connect: Connect = anyio.connect_unix
) -> Collected:
    """Ask the agent at the unix socket ``aa_path`` for evidence with ``report_data`` in it; ``deadline`` in seconds.

    Raises ``Refused``: RA-AGENT-UNREACHABLE, -DEADLINE, -FRAME (not ttrpc), -STATUS (its own error, or nothing given).
    """
    try:
        with anyio.fail_after(deadline):
            try:
                stream = await connect(aa_path)
            except (OSError, ValueError) as error:
                raise Refused(Code.AGENT_UNREACHABLE, f"no attestation agent at {aa_path}: {error}") from None
            async with stream:
                return await _collect(_Calls(stream, int(deadline * 1e9)), report_data)
    except TimeoutError:
        raise Refused(Code.AGENT_DEADLINE, f"the attestation agent at {aa_path} took over {deadline:g} s") from None


async def _collect(calls: _Calls, report_data: bytes) -> Collected:
    asked = ttrpc.bytes_field(1, report_data)
    evidence = ttrpc.read_bytes(_succeeded("GetEvidence", await calls.call("GetEvidence", asked)))
    tee = ttrpc.read_text(_succeeded("GetTeeType", await calls.call("GetTeeType", b"")))
    if not evidence or not tee:
        raise Refused(Code.AGENT_STATUS, f"the attestation agent gave no {'TEE type' if evidence else 'evidence'}")
    # Agents without further devices answer this one with an error or with nothing; neither is a failure.
    further = await calls.call("GetAdditionalEvidence", b"")
    additional = ttrpc.read_bytes(further.payload) if further.code == 0 else b""
    return Collected(tee, evidence, additional or None)


def _succeeded(method: str, response: ttrpc.Response) -> bytes:
    if response.code:
        raise Refused(Code.AGENT_STATUS, f"{method}: error {response.code} {response.message[:200]!r}")
    return response.payload


class _Calls:
    """Calls one after the other on one connection."""

    def __init__(self, stream: SocketStream, timeout_nano: int) -> None:
        self._stream = stream
        self._timeout_nano = timeout_nano
        self._next_id = 1

    async def call(self, method: str, payload: bytes) -> ttrpc.Response:
        stream_id, self._next_id = self._next_id, self._next_id + 2
        try:
            await self._stream.send(ttrpc.request(stream_id, SERVICE, method, payload, self._timeout_nano))
            header = await self._exactly(ttrpc.HEADER.size)
            data = await self._exactly(ttrpc.response_length(header, stream_id))
        except anyio.EndOfStream:
            raise Refused(Code.AGENT_FRAME, f"the attestation agent hung up inside its answer to {method}") from None
        except (OSError, anyio.BrokenResourceError) as error:
            raise Refused(Code.AGENT_FRAME, f"the connection broke during {method}: {error}") from None
        return ttrpc.read_response(data)

    async def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            data += await self._stream.receive(min(_CHUNK, count - len(data)))
        return bytes(data)
