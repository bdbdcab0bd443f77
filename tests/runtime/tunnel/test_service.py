"""The service's client against the sample service, and against servers that misbehave, over real TCP sockets."""

from __future__ import annotations

import contextlib
import gzip
import ipaddress
import os
import resource
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tng_demo.lab import Lab
from tng_demo.sample_agent import evidence as sample_evidence
from tng_demo.sample_service import SampleService
from tng_demo.sample_tls import CA_FILE, server_context
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, report_data, runtime_data
from tng_runtime.errors import HostError, Refused
from tng_runtime.manifest import Service
from tng_runtime.tunnel.service import DEADLINE, ServiceClient

pytestmark = pytest.mark.anyio
RUNTIME_DATA = runtime_data(b"\x11" * 32)
EVIDENCE = CocoEvidence("sample", sample_evidence(report_data(RUNTIME_DATA)), None, RUNTIME_DATA)
TOKEN = b"aGVhZGVy.cGF5bG9hZA.c2lnbmF0dXJl"
OK = b"HTTP/1.1 200 OK\r\n"


class HostileServer:
    """Answers each connection with ``script``; ``hits`` counts connections, ``sent`` the bytes that went out."""

    def __init__(
        self, script: Callable[[HostileServer, socket.socket], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self.hits = 0
        self.sent = 0
        self.stopped = threading.Event()
        self._script = script
        self._tls = tls
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.05)
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def send(self, client: socket.socket, data: bytes) -> None:
        client.sendall(data)
        self.sent += len(data)

    def __enter__(self) -> HostileServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        while not self.stopped.is_set():
            with contextlib.suppress(OSError):
                client, _ = self._listening.accept()
                self.hits += 1
                client.settimeout(60)
                with self._tls.wrap_socket(client, server_side=True) if self._tls else client as client:
                    client.recv(1 << 20)
                    self._script(self, client)
                    # To close with a part of the request unread would be a reset, which may overtake the answer.
                    if self._tls is None:
                        client.shutdown(socket.SHUT_WR)
                    while client.recv(1 << 16):
                        pass


def says(data: bytes) -> Callable[[HostileServer, socket.socket], None]:
    return lambda server, client: server.send(client, data)


def with_body(head: bytes, body: bytes) -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def drips(server: HostileServer, client: socket.socket) -> None:
    server.send(client, OK + b"Content-Length: 1000\r\n\r\n")
    while not server.stopped.wait(0.05):
        server.send(client, b"x")


def gigabyte(framing: bytes) -> Callable[[HostileServer, socket.socket], None]:
    def script(server: HostileServer, client: socket.socket) -> None:
        server.send(client, OK + framing + b"\r\n")
        chunk = b"x" * (1 << 20)
        for _ in range(1 << 10):
            server.send(client, b"100000\r\n" + chunk + b"\r\n" if b"chunked" in framing else chunk)

    return script


def silent(server: HostileServer, _: socket.socket) -> None:
    server.stopped.wait()


@contextlib.asynccontextmanager
async def client_of(url: str, *headers: tuple[str, str], deadline: float = 60) -> AsyncIterator[ServiceClient]:
    client = ServiceClient(Service(url, headers), 0, deadline=deadline)
    yield client
    await client.aclose()


async def refusal(url: str, deadline: float = 60) -> Refused:
    """How the service at ``url`` is refused; a shorter deadline than the usual one is kept."""
    started = time.monotonic()
    async with client_of(url, deadline=deadline) as client:
        with pytest.raises(Refused) as caught:
            await client.attest(EVIDENCE, ["default"])
    assert time.monotonic() - started < DEADLINE
    return caught.value


async def test_evidence_becomes_a_token(service: SampleService) -> None:
    async with client_of(service.url + "/") as client:
        token = await client.attest(EVIDENCE, ["default"])
        assert token.count(".") == 2
        assert await client.certificates() == service.authority.chain_pem
    assert service.calls == {"/attestation": 1, "/certificate": 1}


async def test_an_ipv6_service_is_addressed_in_brackets() -> None:
    with SampleService(("::1", 0)) as service:
        async with client_of(service.url) as client:
            await client.certificates()
        assert service.headers["Host"] == service.url.removeprefix("http://")


async def test_configured_headers_are_sent_with_every_call(service: SampleService) -> None:
    async with client_of(service.url, ("Authorization", "Bearer x"), ("host", "as.example")) as client:
        await client.certificates()
        assert (service.headers["Authorization"], service.headers["host"]) == ("Bearer x", "as.example")
        await client.attest(EVIDENCE, ["default"])
        assert service.headers["Authorization"] == "Bearer x"
        assert service.headers["Content-Type"] == "application/json"


async def test_an_older_service_is_asked_in_its_form_and_then_known(service: SampleService) -> None:
    service.change(dialect="flat")
    async with client_of(service.url) as client:
        for calls in (2, 3):
            assert await client.attest(EVIDENCE, ["default"])
            assert service.calls["/attestation"] == calls


async def test_a_service_that_was_updated_is_asked_in_the_newer_form_again(service: SampleService) -> None:
    service.change(dialect="flat")
    async with client_of(service.url) as client:
        await client.attest(EVIDENCE, ["default"])
        service.change(dialect="list")
        with pytest.raises(Refused):
            await client.attest(EVIDENCE, ["default"])
        assert await client.attest(EVIDENCE, ["default"])


async def test_the_words_of_a_service_that_refuses_are_told(service: SampleService) -> None:
    foreign = CocoEvidence("sample", sample_evidence(bytes(48)), None, RUNTIME_DATA)
    async with client_of(service.url) as client:
        with pytest.raises(Refused, match="not the hash of the runtime data") as caught:
            await client.attest(foreign, ["default"])
        assert caught.value.code == Code.SERVICE_STATUS


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(says(with_body(OK, b"<html><body>Log in</body></html>")), Code.SERVICE_ANSWER, id="h58_html"),
        pytest.param(says(with_body(OK, b"")), Code.SERVICE_ANSWER, id="h58_empty"),
        pytest.param(says(b""), Code.SERVICE_ANSWER, id="h58_hangs_up"),
        pytest.param(says(b"\x16\x03\x01 not HTTP\r\n\r\n"), Code.SERVICE_ANSWER, id="h58_not_http"),
        pytest.param(says(OK + b"X: " + b"y" * (1 << 20)), Code.SERVICE_ANSWER, id="h58_header_of_a_megabyte"),
        pytest.param(says(OK + b"Content-Length: 99\r\n\r\n" + TOKEN), Code.SERVICE_ANSWER, id="h58_cut_short"),
        pytest.param(says(with_body(b"HTTP/1.1 500 No\r\n", TOKEN)), Code.SERVICE_STATUS, id="h58_500"),
        pytest.param(says(with_body(b"HTTP/1.1 204 No\r\n", b"")), Code.SERVICE_STATUS, id="h58_204"),
        pytest.param(drips, Code.SERVICE_DEADLINE, id="h58_a_byte_at_a_time"),
        pytest.param(silent, Code.SERVICE_DEADLINE, id="h58_nothing"),
        pytest.param(gigabyte(b"Content-Length: 1073741824\r\n"), Code.SERVICE_SIZE, id="h58_1_gb"),
        pytest.param(gigabyte(b"Transfer-Encoding: chunked\r\n"), Code.SERVICE_SIZE, id="h58_1_gb_in_chunks"),
        pytest.param(gigabyte(b"Connection: close\r\n"), Code.SERVICE_SIZE, id="h58_1_gb_without_length"),
    ],
)
async def test_an_answer_that_is_no_token_is_refused(
    script: Callable[[HostileServer, socket.socket], None], code: Code
) -> None:
    """Within the deadline, and with no more of it read than the bound and what the kernel's buffers hold."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with HostileServer(script) as server:
        assert (await refusal(server.url, deadline=0.5 if code is Code.SERVICE_DEADLINE else 60)).code == code
    assert server.sent < 32 << 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB"


async def test_h58_a_redirect_is_not_followed() -> None:
    with HostileServer(says(with_body(OK, TOKEN))) as target:
        head = b"HTTP/1.1 307 Over there\r\nLocation: %s/attestation\r\n" % target.url.encode()
        with HostileServer(says(with_body(head, b""))) as server:
            assert (await refusal(server.url)).code == Code.SERVICE_STATUS
            async with client_of(server.url) as client:
                with pytest.raises(Refused) as caught:
                    await client.certificates()
                assert caught.value.code == Code.SERVICE_STATUS
        assert target.hits == 0


def certificate_for_loopback(directory: Path) -> ssl.SSLContext:
    """The context of a server at 127.0.0.1; its certificate, which is its own CA, is at ``directory``/server.pem."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test service")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    builder = builder.add_extension(address, critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (directory / "server.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "server.key").write_bytes(secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem", directory / "server.key")
    return context


async def test_a_service_over_https_needs_a_certificate_that_the_host_trusts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SSL_CERT_FILE is OpenSSL's way to the host's CAs; SSLKEYLOGFILE would give the session away and is not used."""
    tls = certificate_for_loopback(tmp_path)
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with HostileServer(says(with_body(OK, TOKEN)), tls) as server:
        address = server.url.replace("http:", "https:")
        refused = await refusal(address)
        assert refused.code == Code.SERVICE_CA
        assert "does not hold: self-signed certificate" in refused.detail
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
        async with client_of(address) as client:
            assert await client.attest(EVIDENCE, ["default"]) == TOKEN.decode()
    assert not (tmp_path / "keys").exists()


async def test_a_private_ca_is_named_and_is_then_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside who the host believes: a CA that it trusts otherwise does not count any more."""
    tls = server_context(tmp_path / "ours", ["127.0.0.1", "::1"])
    server_context(tmp_path / "others", ["127.0.0.1"])
    named, other = str(tmp_path / "ours" / CA_FILE), str(tmp_path / "others" / CA_FILE)
    pem = (tmp_path / "ours" / CA_FILE).read_bytes()
    (tmp_path / "words.pem").write_bytes("# \u00e9\u00e8\n".encode() + pem + b"\n# end\n")
    with SampleService(("127.0.0.1", 0), ("::1", 0), tls=tls) as service:
        for url in service.urls:
            for paths in ((named,), (other, named), (str(tmp_path / "words.pem"),)):
                client = ServiceClient(Service(url, (), paths), 0)
                assert b"BEGIN CERTIFICATE" in await client.certificates()
                await client.aclose()
        assert (await refusal(service.url)).code == Code.SERVICE_CA
        monkeypatch.setenv("SSL_CERT_FILE", named)
        assert await ServiceClient(Service(service.url, ()), 0).certificates()
        with pytest.raises(Refused) as caught:
            await ServiceClient(Service(service.url, (), (other,)), 0).certificates()
        assert caught.value.code == Code.SERVICE_CA
        assert "as_ca_paths" in caught.value.code.action
        by_name = service.url.replace("127.0.0.1", "localhost")
        with pytest.raises(Refused, match="Hostname mismatch") as caught:
            await ServiceClient(Service(by_name, (), (named,)), 0).certificates()
        assert caught.value.code == Code.SERVICE_CERTIFICATE


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad\r\n\r\n", b""], ids=["plain-http", "ends"])
async def test_a_service_without_tls_is_told_from_one_that_is_away(answer: bytes) -> None:
    with HostileServer(says(answer)) as server:
        refused = await refusal(server.url.replace("http:", "https:"))
    assert refused.code == Code.SERVICE_TLS
    assert "no TLS with 127.0.0.1" in refused.detail


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file"), (b"", "no certificates"), (b"\x30\x82", "no certificates"), (b"x" * (1 << 21), "larger")],
)
async def test_a_file_of_authorities_that_cannot_be_used_keeps_the_host_from_starting(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(HostError, match=rf"as_ca_paths: {path}: .*{problem}") as caught:
        ServiceClient(Service("https://127.0.0.1:1/", (), (str(path),)), 0)
    assert caught.value.exit_code == 3
    assert "trusted_certs_paths is for tokens" in caught.value.hint


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """A token is small; a few kilobytes that become gigabytes are not."""
    bomb = gzip.compress(TOKEN * 100_000)
    with HostileServer(says(with_body(OK + b"Content-Encoding: gzip\r\n", bomb))) as server:
        assert (await refusal(server.url)).code == Code.SERVICE_ANSWER


async def test_h59_a_service_that_is_down_is_unreachable(service: SampleService) -> None:
    service.close()
    refused = await refusal(service.url)
    assert refused.code == Code.SERVICE_UNREACHABLE
    assert "Connection refused" in refused.detail


async def test_a_name_without_an_address_is_unreachable() -> None:
    assert (await refusal("http://nowhere.invalid:8081")).code == Code.SERVICE_UNREACHABLE


async def test_h61_proxies_of_the_environment_are_not_used(
    service: SampleService, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HostileServer(says(with_body(OK, TOKEN))) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with client_of(service.url) as client:
            await client.attest(EVIDENCE, ["default"])
        assert (proxy.hits, service.calls["/attestation"]) == (0, 1)


async def test_no_descriptor_stays_behind_a_call(service: SampleService) -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with client_of(service.url) as client:
        for _ in range(20):
            await client.attest(EVIDENCE, ["default"])
    service.close()
    assert len(os.listdir("/proc/self/fd")) < before, "the listening socket, counted before, is closed too"


@pytest.mark.parametrize(
    ("address", "headers"),
    [
        pytest.param("http://", (), id="no-host"),
        pytest.param("http://user:secret@as/", (), id="user"),
        pytest.param("http://as/?x", (), id="query"),
        pytest.param("http://as/", (("a b", "c"),), id="name-with-space"),
        pytest.param("http://as/", (("A", "b\r\nEvil: 1"),), id="value-with-line"),
        pytest.param("http://as/", (("content-Length", "1"),), id="framing"),
    ],
)
async def test_an_address_or_a_header_that_cannot_be_used_is_told(
    address: str, headers: tuple[tuple[str, str], ...]
) -> None:
    with pytest.raises(HostError) as caught:
        ServiceClient(Service(address, headers), 0)
    assert caught.value.exit_code == 1


COUNT_MARKS = """
table inet count {
    chain out {
        type filter hook output priority 0;
        tcp dport 8081 tcp flags & (syn | ack) == syn meta mark 565 counter comment "marked"
        tcp dport 8081 meta mark != 565 counter comment "unmarked"
    }
}
"""
CALL = """
import anyio
from tng_runtime.manifest import Service
from tng_runtime.tunnel.service import ServiceClient
async def main():
    for url in ("http://127.0.0.1:8081", "http://[::1]:8081"):
        assert b"BEGIN CERTIFICATE" in await ServiceClient(Service(url, ()), 565).certificates()
anyio.run(main)
"""


@pytest.mark.netns
async def test_h74_every_packet_to_the_service_carries_the_mark(hosts: Lab) -> None:
    """The first one above all: redirect looks at no other."""
    host = hosts["client"]
    host.run("nft", "-f", "-", stdin=COUNT_MARKS)
    listen = ("--listen", "127.0.0.1:8081", "--listen", "[::1]:8081")
    host.start(sys.executable, "-m", "tng_demo.sample_service", *listen).wait_for("listening on")
    host.run(sys.executable, "-c", CALL)
    rules = host.run("nft", "list", "table", "inet", "count").stdout
    assert "counter packets 2 " in rules.split('"marked"')[0].splitlines()[-1]
    assert "counter packets 0 " in rules.split('"unmarked"')[0].splitlines()[-1]
