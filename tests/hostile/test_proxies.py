"""Hostile programs at a proxy, and hostile names (131 to 135): nothing reaches an origin that was not judged.

The proxies are those of tests/runtime/test_http_proxy.py, SOCKS5 beside them.
"""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from runtime.test_http_proxy import (
    DIRECT,
    HOST,
    ORIGIN,
    OWN,
    PLACE,
    PROXY,
    SOCKS,
    Door,
    Origin,
    answer,
    connect_to,
    door,
    get,
    http_proxy,
    rest,
)
from runtime.test_mapping import connect
from runtime.test_socks5 import HELLO, OPEN, exactly, request
from runtime.tunnels import NO_RA, RUNTIME, compiled
from tng_demo.lab import Lab

pytestmark = pytest.mark.netns

__all__ = ["door"]


UNFIT = {
    "two lengths": (get(PLACE, HOST, "Content-Length: 1", "Content-Length: 2") + b"a", 400),
    "two lengths alike": (get(PLACE, HOST, "Content-Length: 1", "Content-Length: 1") + b"a", 400),
    "two lengths in one": (get(PLACE, HOST, "Content-Length: 1, 1") + b"a", 400),
    "a length with a sign": (get(PLACE, HOST, "Content-Length: +1") + b"a", 400),
    "a length and a coding": (get(PLACE, HOST, "Content-Length: 1", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "two codings": (get(PLACE, HOST, "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"), 400),
    "another coding": (get(PLACE, HOST, "Transfer-Encoding: gzip, chunked"), 501),
    "a coding that hides": (get(PLACE, HOST, "Transfer-Encoding:\x0bchunked"), 400),
    "a coding of 1.0": (get(PLACE, HOST, "Transfer-Encoding: chunked").replace(b"/1.1", b"/1.0"), 501),
    "a chunk that is none": (get(PLACE, HOST, "Transfer-Encoding: chunked") + b"x\r\n", 400),
    "a bare CR": (get(PLACE, HOST, "A: b\rContent-Length: 1"), 400),
    "a bare LF": (get(PLACE, HOST, "A: b\nContent-Length: 1"), 400),
    "NUL": (get(PLACE, HOST, "A: b\0"), 400),
    "a folded line": (get(PLACE, HOST, "A: b", " c"), 400),
    "a space before the colon": (get(PLACE, HOST, "Content-Length : 1"), 400),
    "a secret that is no field": (get(PLACE, HOST, "Authorization : Basic c2VjcmV0"), 400),
    "a body that is no chunk": (get(PLACE, HOST, "Transfer-Encoding: chunked") + b"c2VjcmV0\r\n", 400),
    "an empty line first": (b"\r\n" + get(PLACE), 400),
    "no host": (get("/", "A: b"), 400),
    "two hosts": (get("/", f"Host: app.example.com:{ORIGIN}", "Host: peer.test"), 400),
    "a host with a user": (get("/", "Host: a@app.example.com"), 400),
    "a target with a user": (get(f"http://a@app.example.com:{ORIGIN}/"), 400),
    "a target with a fragment": (get(PLACE + "#a"), 400),
    "a target of TLS": (get(f"https://app.example.com:{ORIGIN}/"), 400),
    "a target that is none": (get("app.example.com"), 400),
    "a port that is none": (get("http://app.example.com:0/"), 400),
    "a port too large": (get("http://app.example.com:65536/"), 400),
    "CONNECT without a port": (connect_to("app.example.com"), 400),
    "CONNECT with a path": (connect_to(PLACE), 400),
    "CONNECT with a body": (get(f"app.example.com:{ORIGIN}", HOST, "Content-Length: 1", method="CONNECT"), 400),
    "Connection names the length": (get(PLACE, HOST, "Connection: content-length", "Content-Length: 1") + b"a", 400),
    "Connection names the host": (get("/", f"Host: app.example.com:{ORIGIN}", "Connection: host"), 400),
    "many fields": (get(PLACE, HOST, *["A: b"] * 201), 431),
    "a head without end": (b"GET " + PLACE.encode() + b"a" * 40000, 431),
    "a field without end": (get(PLACE, HOST, "A: " + "b" * 40000), 431),
    "another version": (get(PLACE).replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
    "no HTTP": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400),
    "SOCKS": (b"\x05\x01\x00\r\n\r\n", 400),
    "spaces in the target": (get(PLACE + " a"), 400),
}


def test_131_132_what_readers_of_http_disagree_about_reaches_no_origin(door: Door) -> None:
    before = list(door.origin.said)
    said = {case: door.ask(words) for case, (words, _) in UNFIT.items()}
    assert {case: int(each[9:12]) for case, each in said.items()} == {
        case: status for case, (_, status) in UNFIT.items()
    }
    assert all(b"\r\nTNG-Code: NET-DOOR\r\n" in each for each in said.values())
    # The reason is in the answer and in the log; the words themselves are in neither.
    assert b"illegal header line\n" in said["a secret that is no field"]
    assert b"illegal chunk header\n" in said["a body that is no chunk"]
    assert "c2VjcmV0" not in door.run.output() + repr(said)
    # Of a body that turns out to be none its head has gone already.
    assert [each for each in door.origin.said if b"chunked" not in each] == before


# Addresses of this host, names of those, and what getaddrinfo(3) takes for them.
THIS_HOST = [
    "127.0.0.1",
    "0.0.0.0",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "224.0.0.1",
    "10.77.0.1",
    "10.77.0.9",
    "[::ffff:10.77.0.9]",
    "10.99.0.9",
    "[fd99::9]",
    "second.test",
    "rebound.test",
    "own.test",
]
THIS_HOST += ["localhost", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "a.0x7f000001"]


def test_133_this_host_is_no_destination_by_whatever_name(door: Door) -> None:
    for port in (PROXY, DIRECT):
        for host in THIS_HOST:
            for words in (get(f"http://{host}:{OWN}/"), connect_to(f"{host}:{PROXY}")):
                said = door.ask(words, port)
                assert said.startswith(b"HTTP/1.1 403 Forbidden\r\nTNG-Code: NET-DOOR"), (host, said)


def test_134_who_sends_a_head_slowly_is_told_so_after_a_time_and_keeps_nobody_waiting(door: Door) -> None:
    """They began before all other tests."""
    assert door.ask(get(PLACE, HOST, "Connection: close")).startswith(b"HTTP/1.1 200")
    for sock in door.slow:
        with contextlib.suppress(OSError):
            sock.sendall(b"b")
        assert rest(sock).startswith(b"HTTP/1.1 408 Request Timeout")
    assert rest(door.silent) == b""
    door.run.wait_for("code=NET-DOOR .*nothing was asked for within 10 s", 60)


class Names:
    """A DNS server that says another address each time: those of ``addresses`` in turn, and for IPv6 none."""

    def __init__(self, lab: Lab, addresses: list[str]) -> None:
        self._addresses, self._told = addresses, 0
        with lab["client"].inside():
            self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self._sock.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asked, source = self._sock.recvfrom(4096)
                end = asked.index(b"\0", 12) + 5
                kind = int.from_bytes(asked[end - 4 : end - 2])
                answer = b""
                if kind == 1:
                    address = self._addresses[self._told % len(self._addresses)]
                    self._told += 1
                    answer = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04" + socket.inet_aton(address)
                head = asked[:2] + b"\x81\x80\0\x01" + (b"\0\x01" if answer else b"\0\0") + bytes(4)
                self._sock.sendto(head + asked[12:end] + answer, source)

    def close(self) -> None:
        """Answer no more."""
        self._sock.close()


def test_135_a_name_that_means_something_else_a_moment_later_leads_nowhere_else(hosts: Lab) -> None:
    client, server = hosts["client"], hosts["server"]
    egress = {"add_egress": [{"netfilter": {"capture_dst": {"port": ORIGIN}}, **NO_RA}]}
    server.start(RUNTIME, "run", str(compiled(server, egress))).wait_for(r"\bevent=serving\b")
    by_name, by_network = http_proxy(PROXY), http_proxy(DIRECT, dst_filters={"ip_cidr": f"{server.ipv4}/32"})
    socks = {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": SOCKS}}, **NO_RA}
    directory = compiled(client, {"add_ingress": [by_name, by_network, socks]})
    (client.state / "resolv.conf").write_text("nameserver 127.0.0.1\n", "ascii")
    script = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    run = client.start("sh", "-c", script, str(client.state / "resolv.conf"), RUNTIME, "run", str(directory))
    run.wait_for(r"\bevent=serving\b")
    names, there, here = Names(hosts, [server.ipv4, "127.0.0.1"]), Origin(server, ORIGIN), Origin(client, ORIGIN)
    try:
        for port in (PROXY, DIRECT):
            said = []
            for _ in range(4):
                with connect(client, "127.0.0.1", port) as sock:
                    sock.sendall(get(f"http://rebound.test:{ORIGIN}/", HOST, "Connection: close"))
                    said.append(rest(sock)[9:12])
            assert said == [b"200", b"403"] * 2
        for code in (0, 1):
            with connect(client, "127.0.0.1", SOCKS) as sock:
                sock.sendall(HELLO + request("rebound.test", ORIGIN))
                assert exactly(sock, 2) == OPEN
                assert exactly(sock, 10)[1] == code
                if code == 0:
                    sock.sendall(get("/", HOST))
                    assert answer(sock).startswith(b"HTTP/1.1 200")
        assert here.connections == 0
        assert there.connections == 5
    finally:
        for each in (names, there, here):
            each.close()
