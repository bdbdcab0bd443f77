"""Our program and the Rust TNG as the two ends of one tunnel, in both directions, under real programs.

Each row of trust carries an HTTP exchange, a half-close, and 100 MB each way, compared by digest.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.ends import (
    ATTEST,
    ECHO_PORT,
    FIRST_PORT,
    MUTUAL,
    NO_RA,
    PASSPORT_ATTEST,
    PASSPORT_MUTUAL,
    PASSPORT_VERIFY,
    VERIFY,
    Ends,
    Program,
    Row,
    connected,
)

pytestmark = [pytest.mark.interop, pytest.mark.netns]

SIZE = 100_000_000

PAIRS: list[tuple[Program, Program]] = [("ours", "rust"), ("rust", "ours")]
ROWS = [
    Row("no_ra", NO_RA, NO_RA),
    Row("background_check", VERIFY, ATTEST),
    Row("background_check_mutual", MUTUAL, MUTUAL),
    Row("background_check_reverse", ATTEST, VERIFY),
    Row("passport", PASSPORT_VERIFY, PASSPORT_ATTEST),
    Row("passport_mutual", PASSPORT_MUTUAL, PASSPORT_MUTUAL),
    Row("passport_reverse", PASSPORT_ATTEST, PASSPORT_VERIFY),
]
REFUSED = [
    Row("no_ra_to_verifier", VERIFY, NO_RA, refused_by="ingress"),
    Row("not_affirming", VERIFY, ATTEST, affirming=False, refused_by="ingress"),
    Row("client_without_evidence", NO_RA, VERIFY, refused_by="egress"),
    Row("client_not_affirmed", ATTEST, VERIFY, affirming=False, refused_by="egress"),
]


def _cases(rows: list[Row]) -> list[object]:
    return [
        pytest.param((row, ingress, egress), id=f"{row.name}-{ingress}_to_{egress}")
        for row in rows
        for ingress, egress in PAIRS
    ]


@pytest.fixture(scope="module")
def ends(request: pytest.FixtureRequest, peer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    """A tunnel of the row, kept for all exchanges of it."""
    row, ingress, egress = request.param
    with connected(row, ingress, egress, peer, tmp_path_factory.mktemp("interop")) as built:
        yield built


def curl(ends: Ends, *argv: str, path: str = "/", check: bool = True) -> str:
    """What stock curl prints of the server at its usual address and port."""
    url = f"http://{ends.server.ipv4}:{FIRST_PORT}{path}"
    return ends.client.run("curl", "-sS", "--max-time", "60", *argv, url, check=check).stdout


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def random_file(path: Path) -> Path:
    with path.open("wb") as file:
        for _ in range(SIZE // 1_000_000):
            file.write(os.urandom(1_000_000))
    return path


@pytest.mark.parametrize("ends", _cases(ROWS), indirect=True)
def test_stock_curl_gets_a_page_of_stock_nginx(ends: Ends) -> None:
    (ends.web.www / "index.html").write_text("hello from nginx")
    assert curl(ends) == "hello from nginx"
    assert len(ends.web.requests()) == 1


@pytest.mark.parametrize("ends", _cases(ROWS), indirect=True)
def test_a_download_of_100_mb_has_the_digest_of_the_file(ends: Ends, tmp_path: Path) -> None:
    source, copy = random_file(ends.web.www / "big"), tmp_path / "copy"
    try:
        curl(ends, "-o", str(copy), path="/big")
        assert digest(copy) == digest(source)
    finally:
        source.unlink()
        copy.unlink(missing_ok=True)


@pytest.mark.parametrize("ends", _cases(ROWS), indirect=True)
def test_an_upload_of_100_mb_has_the_digest_of_the_file(ends: Ends, tmp_path: Path) -> None:
    source, copy = random_file(tmp_path / "big"), ends.web.uploads / "big"
    try:
        curl(ends, "--fail", "-T", str(source), path="/upload/big")
        assert digest(copy) == digest(source)
    finally:
        source.unlink()
        copy.unlink(missing_ok=True)


@pytest.mark.parametrize("ends", _cases(ROWS), indirect=True)
@pytest.mark.parametrize("closes_first", ["client", "server"])
def test_data_flows_on_after_a_half_close(ends: Ends, closes_first: str) -> None:
    """The side that has closed its direction still receives a megabyte that is sent after its FIN was seen."""
    body = os.urandom(1_000_000)
    received: dict[str, bytes] = {}
    with ends.server.inside():
        listener = socket.create_server((ends.server.ipv4, ECHO_PORT))

    def serve() -> None:
        connection = listener.accept()[0]
        with connection:
            received["server"] = _speak(connection, first=closes_first == "server", body=body)

    with listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with ends.client.inside():
            connection = socket.create_connection((ends.server.ipv4, ECHO_PORT), timeout=20)
        with connection:
            received["client"] = _speak(connection, first=closes_first == "client", body=body)
        thread.join(20)
    second = "server" if closes_first == "client" else "client"
    assert received == {closes_first: body, second: b"I am done"}


def _speak(connection: socket.socket, *, first: bool, body: bytes) -> bytes:
    connection.settimeout(20)
    if first:
        connection.sendall(b"I am done")
        connection.shutdown(socket.SHUT_WR)
        return _until_end(connection)
    heard = _until_end(connection)
    connection.sendall(body)
    connection.shutdown(socket.SHUT_WR)
    return heard


def _until_end(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("ends", _cases(REFUSED), indirect=True)
def test_a_refused_tunnel_carries_nothing(ends: Ends, request: pytest.FixtureRequest) -> None:
    row, ingress, egress = request.node.callspec.params["ends"]
    done = ends.client.run("curl", "-sS", "--max-time", "20", f"http://{ends.server.ipv4}:{FIRST_PORT}/", check=False)
    # A reset before connect(2) returned, an empty reply, a reset before the request was sent, or after it.
    assert done.returncode in {7, 52, 55, 56}, done
    refusing = {"ingress": (ingress, ends.ingress), "egress": (egress, ends.egress)}[row.refused_by]
    if refusing[0] == "ours":
        # The Rust TNG's ingress sends the request before it refuses.
        assert ends.web.requests() == []
        refusing[1].wait_for(r"event=refused .*code=(RA|TLS)-")
