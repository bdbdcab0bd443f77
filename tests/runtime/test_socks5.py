"""A SOCKS5 proxy before a tunnel: stock curl, names and addresses, and every way to ask for what is not given."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from runtime.test_client_address import Service, seen
from runtime.test_mapping import connect, named, on_names
from runtime.tunnels import NO_RA, RUNTIME, compiled
from tng_demo.lab import Host, Lab
from tng_demo.process import Process
from tng_demo.scene import AGENT_SOCKET, PAGE, PORT, SERVICE, Scene

pytestmark = pytest.mark.netns

PROXY = 1080
HELLO, OPEN = b"\x05\x01\x00", b"\x05\x00"
REFUSED_METHODS = b"\x05\xff"


def proxy(host: str = "127.0.0.1", **more: object) -> dict[str, object]:
    return {"socks5": {"proxy_listen": {"host": host, "port": PROXY}, **more}, **NO_RA}


def ingress(host: Host, entry: dict[str, object]) -> Process:
    process = host.start(RUNTIME, "run", str(compiled(host, {"add_ingress": [entry]})))
    process.wait_for(r"\bevent=serving\b")
    return process


def egress(hosts: Lab) -> None:
    document = {"add_egress": [{"netfilter": {"capture_dst": {"port": PORT}}, **NO_RA}]}
    process = hosts["server"].start(RUNTIME, "run", str(compiled(hosts["server"], document)))
    process.wait_for(r"\bevent=serving\b")


@pytest.fixture
def service(hosts: Lab) -> Iterator[Service]:
    serving = Service(hosts["server"], PORT)
    yield serving
    serving.close()


def exactly(sock: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += sock.recv(count - len(data)) or pytest.fail(f"the connection ended after {data!r}")
    return data


def request(host: str, port: int, command: int = 1) -> bytes:
    """By address if it is one, else by name."""
    for family, kind in ((socket.AF_INET, 1), (socket.AF_INET6, 4)):
        with contextlib.suppress(OSError):
            return bytes([5, command, 0, kind]) + socket.inet_pton(family, host) + port.to_bytes(2)
    return bytes([5, command, 0, 3, len(host)]) + host.encode() + port.to_bytes(2)


def asked(host: Host, words: bytes) -> int:
    """The answer's code to a request without a password."""
    with connect(host, "127.0.0.1", PROXY) as sock:
        sock.sendall(HELLO)
        assert exactly(sock, 2) == OPEN
        sock.sendall(words)
        answer = exactly(sock, 10)
        assert answer[0] == 5
        if answer[1]:
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(10) == b""
        return answer[1]


def test_curl_reaches_a_verified_server_by_address_and_by_name_in_both_families(scene: Scene) -> None:
    client, server = scene.client, scene.server
    trust = {"attest": {"aa_addr": f"unix://{AGENT_SOCKET}"}}
    document = {"add_egress": [{"netfilter": {"capture_dst": {"port": PORT}}, **trust}]}
    server.start(RUNTIME, "run", str(compiled(server, document))).wait_for(r"\bevent=serving\b")
    verify = {"verify": {"as_addr": f"http://{SERVICE}/", "policy_ids": ["default"]}}
    auth = {"username": "app", "password": "secret"}
    named(client, "127.0.0.1 localhost", f"{server.ipv6} peer.test", f"{server.ipv4} peer.test")
    entry = {"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": PROXY}, "auth": auth}, **verify}
    run = on_names(client, str(compiled(client, {"add_ingress": [entry]})))

    def curl(url: str, password: str = "secret") -> str:
        way = ("--socks5-hostname", f"app:{password}@127.0.0.1:{PROXY}")
        return client.run("curl", "-sS", "--max-time", "60", *way, url, check=False).stdout

    for host in (server.ipv4, f"[{server.ipv6}]", "peer.test"):
        assert curl(f"http://{host}:{PORT}/") == PAGE
    assert curl(f"http://{server.ipv4}:{PORT}/", "wrong") == ""
    run.wait_for('code=NET-DOOR detail="wrong name or password"', 60)
    assert "secret" not in run.output()


def test_success_is_said_when_the_verdict_stands_and_what_was_sent_early_arrives(hosts: Lab, service: Service) -> None:
    egress(hosts)
    ingress(hosts["client"], proxy())
    there = hosts["server"].ipv4
    with connect(hosts["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(HELLO + request(there, PORT) + b"early")
        assert exactly(sock, 2) == OPEN
        assert exactly(sock, 10) == b"\x05\x00\x00\x01" + bytes(6)
        assert seen(sock) == there, "the service sees the egress"
        assert exactly(sock, 5) == b"early"
    # Nobody speaks TLS there, so there is no verdict, and no success.
    with hosts["server"].inside():
        plain = socket.create_server((there, 9000))
    with plain:
        plain.settimeout(60)
        with connect(hosts["client"], "127.0.0.1", PROXY) as sock:
            sock.sendall(HELLO + request(there, 9000) + b"early")
            assert exactly(sock, 2) == OPEN
            accepted, _ = plain.accept()
            with accepted:
                accepted.settimeout(60)
                assert b"early" not in accepted.recv(1 << 16)
                accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                assert exactly(sock, 10)[1] == 1


THIS_HOST = ["127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "224.0.0.1", "10.77.0.1"]
# Names that mean it, and what getaddrinfo(3) takes for addresses of it.
THIS_HOST += ["rebound.test", "127.1", "2130706433", "0x7f.1"]
NOT_GIVEN = [
    (request("10.77.0.2", PORT, command=2), 7),
    (request("10.77.0.2", PORT, command=3), 7),
    (b"\x05\x01\x00\x09", 8),
    (request("a b", PORT), 2),
    (request("a\r\nb", PORT), 2),
    (request("10.77.0.2", 0), 2),
    (request("10.77.0.2", 9), 1),
]
OTHERS = [b"\x04\x01\x00\x50\x0a\x4d\x00\x02\x00", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\x05\x00"]


def test_what_is_not_given_and_who_asks_for_it(hosts: Lab) -> None:
    """This host, other commands and addresses, and programs that speak something else."""
    client = hosts["client"]
    named(client, "127.0.0.1 rebound.test", "::1 rebound.test")
    run = on_names(client, str(compiled(client, {"add_ingress": [proxy()]})))
    assert {host: asked(client, request(host, PORT)) for host in THIS_HOST} == {
        host: 1 if host == "rebound.test" else 2 for host in THIS_HOST
    }
    assert [asked(client, words) for words, _ in NOT_GIVEN] == [code for _, code in NOT_GIVEN]
    for words in OTHERS:
        with connect(client, "127.0.0.1", PROXY) as sock:
            sock.sendall(words)
            with contextlib.suppress(ConnectionResetError):
                assert sock.recv(100) in (b"", REFUSED_METHODS)
    run.wait_for("code=NET-DOOR", 60)


def test_without_the_password_nobody_is_served(hosts: Lab) -> None:
    run = ingress(hosts["client"], proxy(auth={"username": "app", "password": "secret"}))
    with connect(hosts["client"], "127.0.0.1", PROXY) as sock:
        sock.sendall(HELLO)
        assert exactly(sock, 2) == REFUSED_METHODS
    run.wait_for("code=NET-DOOR", 60)


def test_a_client_that_leaves_leaves_nothing(hosts: Lab, service: Service) -> None:
    egress(hosts)
    ingress(hosts["client"], proxy())
    for words in (b"", b"\x05", HELLO, HELLO + request(hosts["server"].ipv4, PORT)[:7]):
        with connect(hosts["client"], "127.0.0.1", PROXY) as sock:
            sock.sendall(words)
    assert asked(hosts["client"], request(hosts["server"].ipv4, PORT)) == 0
