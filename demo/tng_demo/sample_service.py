"""An attestation service that proves nothing: CoCo restful-as over plain HTTP, for the demo and the tests.

``POST /attestation`` answers ``sample`` evidence with a token of the service's own CA, ``GET /certificate`` shows it,
``POST /challenge`` gives a nonce. What the service says is decided by ``Settings``: ``GET /sample/settings`` shows
them, ``POST /sample/settings`` with a JSON object changes the members named in it, while the service runs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime as dt
import http.server
import json
import signal
import socket
import ssl
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from secrets import token_bytes
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tng_demo import sample_appraisal as appraisal
from tng_demo import sample_authority as authority
from tng_demo import sample_tls

WARNING = "sample service: THIS PROVES NOTHING. It affirms evidence that anybody can make."
MAX_BODY = 16 << 20


@dataclass(frozen=True, slots=True)
class Settings:
    """What the service says. ``delay`` and ``lifetime`` in seconds; ``devices`` false contraindicates all but the CPU.

    ``dialect`` list or flat (older, errors as text), ``form`` ear or simple, ``x5c`` url or standard base64.
    """

    affirming: bool = True
    devices: bool = True
    dialect: str = "list"
    form: str = "ear"
    x5c: str = "url"
    policies: tuple[str, ...] = ("default",)
    issuer: str | None = None
    lifetime: int = 300
    delay: float = 0.0


class SampleService:
    """The service on ``addresses``, serving between ``start`` and ``close`` (or in ``with``); port 0 takes a free one.

    ``calls`` counts requests by path, ``headers`` keeps those of the last one.
    """

    def __init__(
        self,
        *addresses: tuple[str, int],
        settings: Settings | None = None,
        signing: authority.Authority | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.tls = tls
        self.settings = settings or Settings()
        self.authority = signing or authority.create_authority()
        self.calls: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.stopped = threading.Event()
        self._addresses = list(addresses or [("127.0.0.1", 0)])
        self._servers: list[tuple[_Server, threading.Thread]] = []

    @property
    def url(self) -> str:
        """The first address, without a trailing slash."""
        return self.urls[0]

    @property
    def urls(self) -> list[str]:
        """One for each address; the ports are known once it serves."""
        scheme = "https" if self.tls else "http"
        return [
            f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
            for host, port in self._addresses
        ]

    def start(self) -> SampleService:
        """Bind and serve in a thread."""
        self.stopped.clear()
        for index, address in enumerate(self._addresses):
            server = _Server(address, self)
            self._addresses[index] = (address[0], int(server.server_address[1]))
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="sample-service")
            thread.start()
            self._servers.append((server, thread))
        return self

    def close(self) -> None:
        """End every connection. A later ``start`` binds the same address again."""
        self.stopped.set()
        for server, thread in self._servers:
            server.shutdown()
            thread.join()
            server.hang_up()
            server.server_close()
        self._servers.clear()

    def __enter__(self) -> SampleService:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def change(self, **members: Any) -> None:
        """Replace the settings named; raises ``TypeError`` for an unknown name or a value of another type."""
        for name, value in members.items():
            current = getattr(self.settings, name, None)
            wanted = (int, float) if isinstance(current, float) else type(current)
            if current is not None and not isinstance(value, wanted):
                raise TypeError(f"{name}: expected {type(current).__name__}, got {value!r}")
        self.settings = dataclasses.replace(self.settings, **members)

    def attest(self, document: object) -> str:
        """The token for a body of ``POST /attestation``; raises ``BadRequestError``."""
        settings = self.settings
        requests, wanted = appraisal.read_requests(document, settings.dialect)
        if unknown := set(wanted) - set(settings.policies):
            raise appraisal.BadRequestError(f"no policy {min(unknown)!r}")
        appraised = [appraisal.appraise(request) for request in requests]
        now = dt.datetime.now(dt.UTC)
        if settings.form == "simple":
            claims = authority.simple_claims(
                wanted, appraised[0].runtime_data, now, settings.lifetime, settings.issuer or "CoCo-Attestation-Service"
            )
        else:
            submods = _submods(appraised, (wanted or ["default"])[0], settings)
            claims = authority.ear_claims(submods, now, settings.lifetime, settings.issuer)
        return self.authority.sign(claims, "url" if settings.x5c == "url" else "standard")


def _submods(appraised: list[appraisal.Appraised], policy_id: str, settings: Settings) -> dict[str, Any]:
    submods: dict[str, Any] = {}
    for item in appraised:
        index = sum(name.startswith(item.kind) for name in submods)
        good = settings.affirming and (item.kind == "cpu" or settings.devices)
        submods[f"{item.kind}{index}"] = authority.submod(good, policy_id, item.evidence, item.runtime_data)
    return submods


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: SampleService) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.service = service
        self._connections: set[socket.socket] = set()
        super().__init__(address, _Handler)

    def get_request(self) -> tuple[Any, Any]:
        request, address = super().get_request()
        if self.service.tls is not None:
            # The thread of the connection shakes hands, when it reads.
            request = self.service.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return request, address

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the base class's signature
        print(f"sample service: connection ended: {sys.exc_info()[1]}", file=sys.stderr)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path, service = self._begin(), self.server.service
        if path == "/certificate":
            self._reply(HTTPStatus.OK, service.authority.chain_pem, "application/x-pem-file")
        elif path == "/sample/settings":
            shown = {**dataclasses.asdict(service.settings), "calls": dict(service.calls)}
            self._reply(HTTPStatus.OK, json.dumps(shown).encode(), "application/json")
        else:
            self._reply(HTTPStatus.NOT_FOUND, b"not found", "text/plain")

    def do_POST(self) -> None:
        path, service = self._begin(), self.server.service
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY:
            self.close_connection = True
            self._reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too large", "text/plain")
            return
        try:
            document = json.loads(self.rfile.read(length) or b"{}")
            if path == "/attestation":
                service.stopped.wait(service.settings.delay)
                self._reply(HTTPStatus.OK, service.attest(document).encode(), "text/plain")
            elif path == "/challenge":
                self._reply(HTTPStatus.OK, json.dumps(_challenge(service)).encode(), "application/json")
            elif path == "/sample/settings":
                if isinstance(names := document.get("policies"), list):
                    document["policies"] = tuple(names)
                service.change(**document)
                self._reply(HTTPStatus.OK, b"{}", "application/json")
            else:
                self._reply(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
        except (appraisal.BadRequestError, ValueError, TypeError, AttributeError) as error:
            self._refuse(str(error))

    def _begin(self) -> str:
        # Clients that join an address ending in a slash with /attestation ask for //attestation.
        path = "/" + urlsplit("http://sample/" + self.path.lstrip("/")).path.strip("/")
        self.server.service.calls[path] += 1
        self.server.service.headers = dict(self.headers.items())
        return path

    def _refuse(self, detail: str) -> None:
        # Trustee of the flat dialect answers in plain text, the newer one in problem details (RFC 9457).
        if self.server.service.settings.dialect == "flat":
            self._reply(HTTPStatus.BAD_REQUEST, detail.encode(), "text/plain")
            return
        problem = {"type": "about:blank", "title": "attestation failed", "detail": detail}
        self._reply(HTTPStatus.BAD_REQUEST, json.dumps(problem).encode(), "application/problem+json")

    def _reply(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        if not self.path.endswith("/sample/settings"):
            print(f"sample service: {self.address_string()} {format % args}", file=sys.stderr)


def _challenge(service: SampleService) -> dict[str, Any]:
    nonce = authority.b64url(token_bytes(32))
    now = int(dt.datetime.now(dt.UTC).timestamp())
    token = service.authority.sign({"nonce": nonce, "iat": now, "exp": now + service.settings.lifetime})
    return {"nonce": nonce, "extra_params": {"jwt": token}}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="sample_service", description=WARNING)
    parser.add_argument("--listen", type=_address, action="append", required=True, metavar="ADDR:PORT")
    parser.add_argument("--state", type=Path, metavar="DIR", help="keep the CA here; DIR/ca.pem may be pinned")
    parser.add_argument("--tls", type=Path, metavar="DIR", help="serve HTTPS; DIR/tls-ca.pem is its private CA")
    parser.add_argument("--contraindicated", action="store_true", help="start with a service that affirms nothing")
    parser.add_argument("--dialect", choices=("list", "flat"), default="list", help="age of the request format")
    parser.add_argument("--form", choices=("ear", "simple"), default="ear", help="kind of token")
    parser.add_argument("--lifetime", type=int, default=300, metavar="SECONDS", help="of a token")
    arguments = parser.parse_args()
    print(f"\n*** {WARNING} ***\n", file=sys.stderr, flush=True)
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    settings = Settings(
        affirming=not arguments.contraindicated,
        dialect=arguments.dialect,
        form=arguments.form,
        lifetime=arguments.lifetime,
    )
    signing = authority.load_or_create(arguments.state) if arguments.state else authority.create_authority()
    tls = sample_tls.server_context(arguments.tls, [host for host, _ in arguments.listen]) if arguments.tls else None
    with SampleService(*arguments.listen, settings=settings, signing=signing, tls=tls) as service:
        print(f"sample service: listening on {' '.join(service.urls)}", file=sys.stderr, flush=True)
        signal.sigwait(signals)


if __name__ == "__main__":
    main()
