"""An HTTP proxy before a tunnel: stock clients, requests judged one by one, and all that is asked in vain."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from runtime.test_mapping import connect, named, on_names
from runtime.tunnels import NO_RA, RUNTIME, compiled
from tng_demo import scene as scenes
from tng_demo.lab import Host, Lab, lab
from tng_demo.process import Process
from tng_demo.scene import AGENT_SOCKET, PAGE, PORT, SERVICE

pytestmark = pytest.mark.netns

PROXY, DIRECT, SOCKS, ORIGIN, PLAIN = 41000, 41001, 1080, 8081, 9000
OWN = 22
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class Origin:
    """Answers each request that it reads with what it read, and keeps the connection open; ``said`` is all of it."""

    def __init__(self, host: Host, port: int) -> None:
        with host.inside():
            self._listener = socket.create_server(("0.0.0.0", port))
        self.said: list[bytes] = []
        self.connections = 0
        self.waiting, self.left = threading.Event(), threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while head := self._head(connection):
                self.said.append(head)
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                while length > 0:
                    length -= len(connection.recv(length)) or length
                if head.startswith(b"BYE"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ncut")
                    return
                if head.startswith(b"CUT"):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut")
                    return
                if head.startswith(b"OLD"):
                    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")
                    return
                if head.startswith(b"WAIT"):
                    self.waiting.set()
                    with contextlib.suppress(OSError):
                        connection.recv(1)
                    self.left.set()
                    return
                if head.startswith(b"LIE"):
                    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
                    return
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(head) + head)

    def _head(self, connection: socket.socket) -> bytes:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            if not (more := connection.recv(1)):
                return b""
            data += more
        return data

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()


@dataclass(frozen=True, slots=True)
class Door:
    """A running proxy with its tunnel, and the origin behind that; ``plain`` is one that nothing tunnels."""

    lab: Lab
    run: Process
    origin: Origin
    plain: Origin
    slow: list[socket.socket]
    silent: socket.socket

    @property
    def there(self) -> str:
        return self.lab["server"].ipv4

    def ask(self, words: bytes, port: int = PROXY) -> bytes:
        """All that is answered until the proxy ends the connection."""
        with connect(self.lab["client"], "127.0.0.1", port) as sock:
            sock.sendall(words)
            return rest(sock)


def rest(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while more := sock.recv(1 << 16):
            data += more
    return data


def answer(sock: socket.socket) -> bytes:
    """One answer with its body, of a connection that goes on."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += sock.recv(1) or pytest.fail(f"the connection ended after {data!r}")
    length = int(data.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    for _ in range(length):
        data += sock.recv(1) or pytest.fail(f"the connection ended after {data!r}")
    return data


def http_proxy(port: int, **more: object) -> dict[str, Any]:
    return {"http_proxy": {"proxy_listen": {"host": "127.0.0.1", "port": port}, **more}, **NO_RA}


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    with lab("client", "server") as hosts:
        client, server = hosts["client"], hosts["server"]
        egress = {"add_egress": [{"netfilter": {"capture_dst": {"port": ORIGIN}}, **NO_RA}]}
        server.start(RUNTIME, "run", str(compiled(server, egress))).wait_for(r"\bevent=serving\b")
        there = server.ipv4
        # Routes to them have another source: secondary is the second of a network, and whole networks may be local.
        for words in ("addr add 10.77.0.9/24 dev eth0", "route add local 10.99.0.0/24 dev lo src 10.77.0.1"):
            client.run("ip", *words.split())
        client.run("ip", "-6", *["route", "add", "local", "fd99::/64", "dev", "lo", "src", "fd77::1"])
        named(
            client,
            "127.0.0.1 localhost rebound.test",
            f"{there} app.example.com peer.test mixed.test",
            "127.0.0.1 mixed.test",
            f"{client.ipv4} own.test",
            "10.77.0.9 second.test",
        )
        filters = [{"domain": "*.example.com"}, {"domain_regex": "^p[a-z]+r\\.test$"}, {"ip_cidr": f"{there}/32"}]
        entries = [
            http_proxy(PROXY, dst_filters=filters),
            http_proxy(DIRECT, dst_filters={"domain": "app.*", "port": ORIGIN}, unmatched="direct"),
            {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": SOCKS}}, **NO_RA},
        ]
        run = on_names(client, str(compiled(client, {"add_ingress": entries})))
        origins = Origin(server, ORIGIN), Origin(server, PLAIN)
        slow = [connect(client, "127.0.0.1", PROXY) for _ in range(50)]
        for sock in slow:
            sock.sendall(b"GET / HTTP/1.1\r\nA:")
        silent = connect(client, "127.0.0.1", SOCKS)
        silent.sendall(b"\x05")
        yield Door(hosts, run, *origins, slow, silent)
        for origin in origins:
            origin.close()
        for sock in (*slow, silent):
            sock.close()


def get(url: str, *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {url} HTTP/1.1", *(fields or ["Host: x"]), "", ""]).encode()


def connect_to(place: str) -> bytes:
    return f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n\r\n".encode()


URLLIB = """
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({"http": sys.argv[1]}))
sys.stdout.write(opener.open(sys.argv[2], timeout=60).read().decode())
"""


def test_stock_clients_reach_a_verified_server_and_nobody_else(hosts: Lab) -> None:
    scene = scenes.set_up(hosts)
    client, server = scene.client, scene.server
    trust = {"attest": {"aa_addr": f"unix://{AGENT_SOCKET}"}}
    document = {"add_egress": [{"netfilter": {"capture_dst": {"port": PORT}}, **trust}]}
    server.start(RUNTIME, "run", str(compiled(server, document))).wait_for(r"\bevent=serving\b")
    verify = {"verify": {"as_addr": f"http://{SERVICE}/", "policy_ids": ["default"]}}
    named(client, "127.0.0.1 localhost", f"{server.ipv6} peer.test", f"{server.ipv4} peer.test")
    run = on_names(client, str(compiled(client, {"add_ingress": [{**http_proxy(PROXY), "no_ra": False, **verify}]})))
    proxy = f"http://127.0.0.1:{PROXY}"

    def curl(*arguments: str) -> str:
        return client.run("curl", "-sS", "--max-time", "60", "-x", proxy, *arguments, check=False).stdout

    # Before the verdict there is no success, and after a bad one neither.
    scene.affirm(affirming=False)
    for form in ("-i", "-ip"):
        refused = curl(form, f"http://peer.test:{PORT}/")
        assert refused.startswith("HTTP/1.1 502 Bad Gateway\nTNG-Code: RA-"), refused
    assert scene.web.requests() == []
    scene.affirm(affirming=True)
    for host in (server.ipv4, f"[{server.ipv6}]", "peer.test"):
        assert curl(f"http://{host}:{PORT}/") == PAGE
        assert curl("-p", f"http://{host}:{PORT}/") == PAGE
    assert client.run(sys.executable, "-c", URLLIB, proxy, f"http://peer.test:{PORT}/").stdout == PAGE
    two = [f"http://{server.ipv4}:{PORT}/"] * 2
    assert curl(*two, "-w", "%{num_connects} ") == f"{PAGE}1 {PAGE}0 "
    upload = scene.web.uploads / "sent"
    sent = curl("-T", "/etc/services", f"http://{server.ipv4}:{PORT}/upload/sent", "-w", "%{http_code}")
    assert sent == "201"
    assert upload.read_bytes() == Path("/etc/services").read_bytes()
    chunked = ("-H", "Transfer-Encoding: chunked", "-H", "Expect: 100-continue")
    assert curl(*chunked, "-T", "/etc/services", f"http://peer.test:{PORT}/upload/2", "-w", "%{http_code}") == "201"
    # Nobody speaks TLS on that port, so there is no verdict, and no success.
    refused = curl("-i", f"http://{server.ipv4}:9081/")
    assert refused.startswith("HTTP/1.1 502 Bad Gateway")
    assert "TNG-Code: NET-DIAL" in refused
    refused = curl("-ip", f"http://{server.ipv4}:9081/")
    assert "TNG-Code: NET-DIAL" in refused
    assert "200 Connection" not in refused
    assert "event=bug" not in run.output()


def test_a_request_is_judged_by_its_own_target_and_goes_on_in_the_form_for_an_origin(door: Door) -> None:
    place = f"app.example.com:{ORIGIN}"
    fields = ("Host: elsewhere.test", "Proxy-Connection: keep-alive", "Connection: X-Hop", "X-Hop: 1", "X-End: 2")
    with connect(door.lab["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(get(f"http://{place}/a?b", *fields))
        said = answer(sock).split(b"\r\n\r\n", 1)[1]
        assert said == f"GET /a?b HTTP/1.1\r\nHost: {place}\r\nX-End: 2\r\n\r\n".encode()
        before = door.origin.connections
        sock.sendall(get("/c", f"Host: {place}") + get(f"http://{place}", "Host: x"))
        assert b"GET /c " in answer(sock)
        assert b"GET / " in answer(sock)
        assert door.origin.connections == before, "the connection to the origin is kept"
        sock.sendall(get(f"http://peer.test:{ORIGIN}/d", "Host: x"))
        assert b"GET /d " in answer(sock)
        assert door.origin.connections == before + 1, "another origin gets another"
        sock.sendall(get(f"http://other.test:{ORIGIN}/", "Host: app.example.com"))
        refused = rest(sock)
    assert refused.startswith(b"HTTP/1.1 403 Forbidden\r\nTNG-Code: NET-DOOR\r\n")
    assert b"no filter of the proxy (dst_filters) takes other.test" in refused


def test_connect_carries_a_stream_and_what_was_sent_early(door: Door) -> None:
    with connect(door.lab["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(connect_to(f"{door.there}:{ORIGIN}") + b"GET /early HTTP/1.1\r\nHost: a\r\n\r\n")
        assert sock.recv(len(CONNECTED), socket.MSG_WAITALL) == CONNECTED
        assert b"GET /early " in answer(sock)


TAKEN = {
    "app.example.com": True,
    "APP.EXAMPLE.COM": True,
    "peer.test": True,
    "mixed.test": True,  # by its address that the network takes; the other is this host
    "10.77.0.2": True,
    "[::ffff:10.77.0.2]": True,
    "10.77.0.3": False,
    "example.com": False,
    "xpeer.test.org": False,
}


def test_filters(door: Door) -> None:
    said = {host: door.ask(get(f"http://{host}:{ORIGIN}/", "Host: x", "Connection: close")) for host in TAKEN}
    assert {host: each[9:12] for host, each in said.items()} == {
        host: b"200" if taken else b"403" for host, taken in TAKEN.items()
    }


def test_what_no_filter_takes_leaves_in_plaintext_only_where_the_document_says_so(door: Door) -> None:
    plain = f"{door.there}:{PLAIN}"
    assert door.ask(get(f"http://{plain}/", "Host: x", "Connection: close"), DIRECT).startswith(b"HTTP/1.1 200")
    assert door.ask(connect_to(plain) + get("/", "Host: a", method="BYE"), DIRECT).endswith(b"cut")
    assert [each for each in door.plain.said if each.startswith(b"BYE")]
    tunnelled = door.ask(get(f"http://app.example.com:{ORIGIN}/", "Host: x", "Connection: close"), DIRECT)
    assert tunnelled.startswith(b"HTTP/1.1 200"), "the egress there takes nothing but the tunnel"
    assert b"403" in door.ask(get(f"http://127.0.0.1:{PROXY}/"), DIRECT)


PLACE = f"http://app.example.com:{ORIGIN}/"
HOST = "Host: x"


def test_answers_of_an_origin_that_ends(door: Door) -> None:
    expected = {"BYE": (b"200", b"cut"), "OLD": (b"200", b"until the end"), "LIE": (b"502", b"NET-ORIGIN")}
    for method, (status, body) in expected.items():
        said = door.ask(get(PLACE, HOST, "Connection: close", method=method))
        assert (said[9:12], body in said) == (status, True), said


def test_an_answer_that_was_cut_ends_with_a_reset(door: Door) -> None:
    with connect(door.lab["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(get(PLACE, HOST, method="CUT"))
        received = b""
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - at whichever read
            while more := sock.recv(1 << 16):
                received += more
        assert received.endswith(b"cut") or received == b""


def test_an_origin_that_closed_what_it_kept_is_asked_again(door: Door) -> None:
    with connect(door.lab["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(get(PLACE, HOST, method="BYE"))
        assert answer(sock).endswith(b"cut")
        before = door.origin.connections
        sock.sendall(get(PLACE, HOST))
        assert answer(sock).startswith(b"HTTP/1.1 200")
        assert door.origin.connections == before + 1


def test_a_program_that_is_gone_leaves_no_request_behind(door: Door) -> None:
    with connect(door.lab["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(get(PLACE, HOST, method="WAIT"))
        assert door.origin.waiting.wait(60)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert door.origin.left.wait(60)


def test_what_is_refused_is_counted_once(door: Door) -> None:
    client = door.lab["client"]
    path = next((client.state / "run" / "tng").glob("tng.*.status"))

    def counted() -> int:
        said = client.run("curl", "-sS", "--unix-socket", str(path), "http://localhost/status/").stdout
        return int(json.loads(said)["entries"][0]["refused"].get("NET-DIAL", 0))

    before = counted()
    for words in (get(f"http://{door.there}:9/", HOST), connect_to(f"{door.there}:9")):
        assert b"TNG-Code: NET-DIAL" in door.ask(words)
    end = time.monotonic() + 60
    while counted() < before + 2 and time.monotonic() < end:
        time.sleep(0.1)
    assert counted() == before + 2
