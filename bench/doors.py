"""Doors of an ingress: a mapping, an HTTP proxy that forwards, CONNECT and SOCKS5; ours and the Rust TNG's by turns."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from bench.phases import EACH_NEW, Figures, bulk, one_by_one, rate, wrk
from bench.report import Row, rows
from bench.sides import IPERF_PORT, WEB_PORT, Program, Side, Trust, tunnelled

MAPPED_WEB, MAPPED_IPERF, PROXY, SOCKS = 10080, 10081, 41000, 1080
LOOPBACK = "127.0.0.1"
_ROWS: tuple[Row, ...] = (
    ("mapping_bulk_up", "mapping: bulk upload, 1 stream, Gbit/s", 2, True),
    ("mapping_bulk_down", "mapping: bulk download, 1 stream, Gbit/s", 2, True),
    ("mapping_requests", "mapping: keep-alive requests/s, 32 connections", 0, True),
    ("mapping_connections", "mapping: new connections/s", 0, True),
    ("http_requests", "http_proxy: forwarded requests/s, 32 connections", 0, True),
    ("http_connections", "http_proxy: forwarded, each on a connection of its own, /s", 0, True),
    ("http_bulk", "http_proxy: forwarded download, 32 connections, Gbit/s", 2, True),
    ("connect", "http_proxy: CONNECT and one request at rest, ms", 2, False),
    ("socks", "socks5: CONNECT and one request at rest, ms", 2, False),
)
_BIG = 1 << 20


def table(trust: Trust, rounds: int, seconds: int, peer: Path) -> str:
    """A Markdown table of ``rounds`` rounds of each program."""
    figures: dict[Program, list[Figures]] = {"ours": [], "rust": []}
    for number in range(rounds):
        for program in sorted(figures, reverse=bool(number % 2)):
            with tempfile.TemporaryDirectory() as directory:
                figures[program].append(_round(program, trust, seconds, peer, Path(directory)))
    return rows(_ROWS, figures["ours"], figures["rust"])


def _round(program: Program, trust: Trust, seconds: int, peer: Path, directory: Path) -> Figures:
    # Both labs number their hosts alike.
    there = "10.77.0.2"
    rules = [
        {"in": {"host": LOOPBACK, "port": here}, "out": {"host": there, "port": port}}
        for here, port in ((MAPPED_WEB, WEB_PORT), (MAPPED_IPERF, IPERF_PORT))
    ]
    doors: list[dict[str, object]] = [
        {"mapping": {"rules": rules}},
        {"http_proxy": {"proxy_listen": {"host": LOOPBACK, "port": PROXY}}},
        {"socks5": {"proxy_listen": {"host": LOOPBACK, "port": SOCKS}}},
    ]
    with tunnelled(program, trust, peer, directory, doors=doors) as side:
        if side.server.ipv4 != there:
            raise RuntimeError(f"the server is {side.server.ipv4}")
        (directory / "web" / "www" / "big").write_bytes(bytes(_BIG))
        return _measure(side, seconds)


def _measure(side: Side, seconds: int) -> Figures:
    place = f"{side.server.ipv4}:{WEB_PORT}"
    mapped, proxy = f"http://{LOOPBACK}:{MAPPED_WEB}/", f"http://{LOOPBACK}:{PROXY}/"
    host = ("-H", f"Host: {place}")
    transferred = wrk(side, seconds, *host, url=f"{proxy}big")
    get = f"GET / HTTP/1.1\r\nHost: {place}\r\nConnection: close\r\n\r\n".encode()

    def connect(sock: socket.socket) -> None:
        sock.sendall(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += sock.recv(4096) or _fail(answer)

    def socks(sock: socket.socket) -> None:
        sock.sendall(b"\x05\x01\x00")
        sock.recv(2, socket.MSG_WAITALL)
        sock.sendall(b"\x05\x01\x00\x01" + socket.inet_aton(side.server.ipv4) + WEB_PORT.to_bytes(2))
        if (answer := sock.recv(10, socket.MSG_WAITALL))[1:2] != b"\0":
            _fail(answer)

    found = bulk(side, seconds, at=(LOOPBACK, MAPPED_IPERF))
    return {
        **{f"mapping_{name}": value for name, value in found.items()},
        "mapping_requests": rate(wrk(side, seconds, url=mapped)),
        "mapping_connections": rate(wrk(side, seconds, *EACH_NEW, url=mapped)),
        "http_requests": rate(wrk(side, seconds, *host, url=proxy)),
        "http_connections": rate(wrk(side, seconds, *host, *EACH_NEW, url=proxy)),
        "http_bulk": rate(transferred) * _BIG * 8 / 1e9,
        "connect": one_by_one(side, (LOOPBACK, PROXY), get, connect),
        "socks": one_by_one(side, (LOOPBACK, SOCKS), get, socks),
    }


def _fail(answer: bytes) -> bytes:
    raise RuntimeError(f"the door answered {answer!r}")
