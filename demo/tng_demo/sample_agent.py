"""An attestation agent that proves nothing: CoCo ``sample`` evidence over ttrpc, for the demo and the tests.

``sample`` evidence is JSON that anyone can write; no hardware stands behind it. The agent answers GetEvidence,
GetTeeType and GetAdditionalEvidence of ``attestation_agent.AttestationAgentService`` on a unix socket.
A ``Behaviour`` other than honest makes it one of the agents that a tunnel must survive.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import signal
import socketserver
import sys
import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from socket import SHUT_RDWR, socket
from types import TracebackType

from tng_demo import sample_ttrpc as ttrpc

SERVICE = "attestation_agent.AttestationAgentService"
WARNING = "sample agent: THIS PROVES NOTHING. Its evidence is made up; anybody can make the same."
INTERNAL, UNIMPLEMENTED = 13, 12


class Behaviour(StrEnum):
    """What the agent does to a client; the names of the framing faults say what is wrong with the answer."""

    HONEST = "honest"
    OTHER_TEE = "other-tee"
    NO_REPORT_DATA = "no-report-data"
    FOREIGN_REPORT_DATA = "foreign-report-data"
    ADDITIONAL = "additional"
    ERROR = "error"
    SILENT = "silent"
    CLOSES = "closes"
    OTHER_STREAM = "other-stream"
    DATA_FRAME = "data-frame"
    OVERSIZED = "oversized"
    HALF_FRAME = "half-frame"


class SampleAgent:
    """The agent on ``path``, serving between ``start`` and ``close`` (or inside ``with``).

    ``behaviour`` may be changed while it serves; ``calls`` lists the methods in the order they came.
    """

    def __init__(self, path: Path, behaviour: Behaviour = Behaviour.HONEST) -> None:
        self.path = path
        self.behaviour = behaviour
        self.calls: list[str] = []
        self._clients: set[socket] = set()
        self._stopped = threading.Event()
        self._server: socketserver.ThreadingUnixStreamServer | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> SampleAgent:
        """Bind and serve in a thread. A socket that a killed agent left is replaced."""
        agent = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                agent._serve(self.request)

        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._stopped.clear()
        self._server = socketserver.ThreadingUnixStreamServer(os.fspath(self.path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="sample-agent")
        self._thread.start()
        return self

    def close(self) -> None:
        """End every connection and remove the socket."""
        if self._server is None or self._thread is None:
            return
        self._stopped.set()
        self._server.shutdown()
        self._thread.join()
        for client in list(self._clients):
            with contextlib.suppress(OSError):
                client.shutdown(SHUT_RDWR)
        self._server.server_close()
        self.path.unlink(missing_ok=True)
        self._server = None

    def __enter__(self) -> SampleAgent:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serve(self, client: socket) -> None:
        self._clients.add(client)
        try:
            for call in _calls(client):
                self.calls.append(call.method)
                if self.behaviour is Behaviour.SILENT:
                    self._stopped.wait()
                    return
                if self.behaviour is Behaviour.CLOSES:
                    return
                client.sendall(_framed(call.stream, self._answer(call), self.behaviour))
        except (OSError, ValueError) as error:
            print(f"sample agent: connection ended: {error}", file=sys.stderr)
        finally:
            self._clients.discard(client)

    def _answer(self, call: ttrpc.Call) -> bytes:
        if call.service != SERVICE:
            return ttrpc.failure(UNIMPLEMENTED, f"no service {call.service!r}")
        if self.behaviour is Behaviour.ERROR:
            return ttrpc.failure(INTERNAL, "the sample agent was told to fail")
        fields = ttrpc.read_fields(call.payload)
        if call.method == "GetTeeType":
            tee = "tdx" if self.behaviour is Behaviour.OTHER_TEE else "sample"
            return ttrpc.response(ttrpc.bytes_field(1, tee.encode()))
        report_data = fields.get(1, b"")
        if not isinstance(report_data, bytes):
            raise ValueError("RuntimeData is not bytes")
        if call.method == "GetEvidence":
            return ttrpc.response(ttrpc.bytes_field(1, evidence(report_data, self.behaviour)))
        if call.method == "GetAdditionalEvidence":
            if self.behaviour is Behaviour.ADDITIONAL:
                device = json.loads(evidence(report_data, Behaviour.HONEST))
                return ttrpc.response(ttrpc.bytes_field(1, json.dumps({"sampledevice": device}).encode()))
            return ttrpc.response(b"")
        return ttrpc.failure(UNIMPLEMENTED, f"no method {call.method!r}")


def evidence(report_data: bytes, behaviour: Behaviour = Behaviour.HONEST) -> bytes:
    """CoCo ``sample`` evidence for ``report_data``, as JSON."""
    if behaviour is Behaviour.NO_REPORT_DATA:
        return json.dumps({"svn": "1"}).encode()
    if behaviour is Behaviour.FOREIGN_REPORT_DATA:
        report_data = bytes(byte ^ 0xFF for byte in report_data)
    return json.dumps({"svn": "1", "report_data": base64.b64encode(report_data).decode()}).encode()


def _framed(stream: int, data: bytes, behaviour: Behaviour) -> bytes:
    if behaviour is Behaviour.OTHER_STREAM:
        return ttrpc.frame(stream + 2, data)
    if behaviour is Behaviour.DATA_FRAME:
        return ttrpc.frame(stream, data, kind=3)
    if behaviour is Behaviour.OVERSIZED:
        return ttrpc.HEADER.pack(ttrpc.MAX_DATA + 1, stream, ttrpc.RESPONSE, 0)
    if behaviour is Behaviour.HALF_FRAME:
        return ttrpc.frame(stream, data)[: ttrpc.HEADER.size + len(data) // 2]
    return ttrpc.frame(stream, data)


def _calls(client: socket) -> Iterator[ttrpc.Call]:
    while header := _exactly(client, ttrpc.HEADER.size):
        length = ttrpc.HEADER.unpack(header)[0]
        if length > ttrpc.MAX_DATA:
            raise ValueError(f"a request of {length} bytes")
        yield ttrpc.read_call(header, _exactly(client, length))


def _exactly(client: socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        if not (more := client.recv(count - len(data))):
            if data:
                raise ValueError("the client left in the middle of a frame")
            return b""
        data += more
    return bytes(data)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="sample_agent", description=WARNING)
    parser.add_argument("--socket", type=Path, required=True, metavar="PATH", help="unix socket to listen on")
    parser.add_argument("--behaviour", type=Behaviour, default=Behaviour.HONEST, choices=list(Behaviour))
    arguments = parser.parse_args()
    print(f"\n*** {WARNING} ***\n", file=sys.stderr, flush=True)
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with SampleAgent(arguments.socket, arguments.behaviour):
        print(f"sample agent: listening on {arguments.socket}", file=sys.stderr, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
