"""Ports that are mapped instead of captured: real programs on real hosts, names, ranges, and what is refused."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from runtime.processes import until
from runtime.relay.test_proxy_header import read
from runtime.test_client_address import Service, seen
from runtime.tunnels import NO_RA, RUNTIME, compiled
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.capture import capture
from tng_demo.lab import Host, Lab
from tng_demo.process import Process
from tng_demo.scene import AGENT_SOCKET, PAGE, SERVICE, Scene

pytestmark = pytest.mark.netns

SECRET = b"what is said through a mapping is not for the wire. " * 20
BACKEND = 5432


def started(host: Host, *entries: dict[str, object], role: str) -> Process:
    process = host.start(RUNTIME, "run", str(compiled(host, {f"add_{role}": list(entries)})))
    process.wait_for(r"\bevent=serving\b")
    return process


def mapping(host: str, port: int, out_host: str, out_port: int, size: int = 1) -> dict[str, object]:
    comes, goes = {"host": host, "port": port}, {"host": out_host, "port": out_port}
    if size > 1:
        comes, goes = {**comes, "port_end": port + size - 1}, {**goes, "port_end": out_port + size - 1}
    return {"mapping": {"in": comes, "out": goes}, **NO_RA}


def connect(host: Host, target: str, port: int) -> socket.socket:
    with host.inside():
        return socket.create_connection((target, port), timeout=60)


@pytest.fixture
def service(hosts: Lab) -> Iterator[Service]:
    serving = Service(hosts["server"], BACKEND)
    yield serving
    serving.close()


def egress(hosts: Lab) -> Process:
    both = [
        {"in": {"host": host, "port": 20001}, "out": {"host": out, "port": BACKEND}}
        for host, out in (("0.0.0.0", "127.0.0.1"), ("::", "::1"))
    ]
    return started(hosts["server"], {"mapping": {"rules": both}, **NO_RA}, role="egress")


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_program_reaches_a_service_through_two_mappings_and_tls(hosts: Lab, service: Service, family: str) -> None:
    egress(hosts)
    client = hosts["client"]
    loopback, there = ("127.0.0.1", hosts["server"].ipv4) if family == "ipv4" else ("::1", hosts["server"].ipv6)
    started(client, mapping(loopback, 10001, there, 20001), role="ingress")
    with capture(client, hosts["server"], client.state / "wire.pcap") as wire:
        with connect(client, loopback, 10001) as sock:
            assert seen(sock) == loopback, "the egress dials the service as a local client"
            sock.sendall(SECRET)
            received = b""
            while len(received) < len(SECRET):
                received += sock.recv(1 << 16) or pytest.fail("the connection ended")
            sock.shutdown(socket.SHUT_WR)
            assert (received, sock.recv(10)) == (SECRET, b"")
        payload = b"".join(segment.payload for segment in wire.stop())
    assert payload
    assert SECRET[:20] not in payload


def test_stock_redis_is_used_through_two_mappings(hosts: Lab) -> None:
    """By its own client: a large value, a thousand commands at once, and one that waits for what another one brings."""
    client, server = hosts["client"], hosts["server"]
    egress(hosts)
    started(client, mapping("127.0.0.1", 10001, server.ipv4, 20001), role="ingress")
    redis = server.start("redis-server", "--bind", "127.0.0.1", "--port", str(BACKEND), "--save", "")
    redis.wait_for("Ready to accept connections")
    cli = ("redis-cli", "-h", "127.0.0.1", "-p", "10001")
    with capture(client, server, client.state / "wire.pcap") as wire:
        waiting = client.start(*cli, "BLPOP", "queue", "60")
        assert client.run(*cli, "-x", "SET", "large", stdin=SECRET.decode() * 1000).stdout == "OK\n"
        assert client.run(*cli, "STRLEN", "large").stdout == f"{len(SECRET) * 1000}\n"
        at_once = "".join(f"SET key{number} {number}\r\n" for number in range(1000))
        assert "errors: 0, replies: 1000" in client.run(*cli, "--pipe", stdin=at_once).stdout
        assert client.run(*cli, "DBSIZE").stdout == "1001\n"
        until(lambda: "cmd=blpop" in client.run(*cli, "CLIENT", "LIST").stdout, "it waits")
        assert client.run(*cli, "RPUSH", "queue", "brought").stdout == "1\n"
        assert waiting.wait() == 0
        payload = b"".join(segment.payload for segment in wire.stop())
    assert waiting.output() == "queue\nbrought\n"
    assert payload
    assert not [words for words in (SECRET[:20], b"key500", b"BLPOP", b"brought") if words in payload]


def test_the_service_behind_a_mapping_is_told_of_its_client(hosts: Lab) -> None:
    with hosts["server"].inside():
        listener = socket.create_server(("127.0.0.1", BACKEND))
    listener.settimeout(60)
    entry = {**mapping("0.0.0.0", 20001, "127.0.0.1", BACKEND), "proxy_protocol": "v2"}
    started(hosts["server"], entry, role="egress")
    started(hosts["client"], mapping("127.0.0.1", 10001, hosts["server"].ipv4, 20001), role="ingress")
    with connect(hosts["client"], "127.0.0.1", 10001) as near, listener:
        far, _ = listener.accept()
        with far:
            far.settimeout(60)
            header = b""
            while len(header) < 28:
                header += far.recv(28 - len(header)) or pytest.fail("the connection ended")
            source, _, *there, values = read(header)
            assert [source, *there, values] == [hosts["client"].ipv4, hosts["server"].ipv4, 20001, []]
            near.sendall(b"payload")
            assert far.recv(100) == b"payload"


def test_a_range_leads_to_a_range(hosts: Lab) -> None:
    services = [Service(hosts["server"], port) for port in (7000, 7001, 7002)]
    try:
        started(hosts["server"], mapping("0.0.0.0", 20000, "127.0.0.1", 7000, size=3), role="egress")
        started(hosts["client"], mapping("127.0.0.1", 10000, hosts["server"].ipv4, 20000, size=3), role="ingress")
        for offset, serving in enumerate(services):
            with connect(hosts["client"], "127.0.0.1", 10000 + offset) as sock:
                seen(sock)
                assert [len(each.accepted) for each in services] == [1] * (offset + 1) + [0] * (2 - offset)
                assert serving.accepted
    finally:
        for serving in services:
            serving.close()


def named(host: Host, *lines: str) -> None:
    """Give ``host`` names of its own: its programs see this /etc/hosts."""
    hosts = host.state / "hosts"
    hosts.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def on_names(host: Host, directory: str) -> Process:
    """A run in whose mount namespace /etc/hosts is that of ``named``."""
    script = 'mount --bind "$0" /etc/hosts && exec "$@"'
    process = host.start("sh", "-c", script, str(host.state / "hosts"), RUNTIME, "run", directory)
    process.wait_for(r"\bevent=serving\b")
    return process


def test_a_name_is_looked_up_for_each_connection_and_all_its_addresses_are_tried(hosts: Lab, service: Service) -> None:
    client, server = hosts["client"], hosts["server"]
    egress(hosts)
    # Nobody is at the first, and the second refuses: a third one answers.
    named(client, "10.77.0.99 peer.test", f"{client.ipv6} peer.test", f"{server.ipv4} peer.test")
    document = {"add_ingress": [mapping("127.0.0.1", 10001, "peer.test", 20001)]}
    run = on_names(client, str(compiled(client, document)))
    with connect(client, "127.0.0.1", 10001) as sock:
        assert seen(sock) == "127.0.0.1"
    named(client, f"{server.ipv6} peer.test")
    with connect(client, "127.0.0.1", 10001) as sock:
        assert seen(sock) == "::1", "it came to the other listener of the egress"
    named(client, "10.0.0.1 other.test")
    with pytest.raises(ConnectionResetError), connect(client, "127.0.0.1", 10001) as sock:
        assert sock.recv(10)
    run.wait_for(r"code=NET-DIAL .*peer\.test:20001.*name was not resolved", 60)


def test_a_mapping_beside_a_capture_is_not_captured(hosts: Lab, service: Service) -> None:
    """The port that the mapping dials is one that the other entry captures."""
    egress(hosts)
    capturing = {"netfilter": {"capture_dst": {"port": 20001}}, **NO_RA}
    there = hosts["server"].ipv4
    started(hosts["client"], capturing, mapping("127.0.0.1", 10001, there, 20001), role="ingress")
    with connect(hosts["client"], "127.0.0.1", 10001) as sock:
        assert seen(sock) == "127.0.0.1"


def test_a_mapping_that_leads_round_in_a_circle_ends(hosts: Lab) -> None:
    """Two entries that lead to each other, over an address of this host: no document shows it."""
    client = hosts["client"]
    entries = [mapping("0.0.0.0", 10001, client.ipv4, 10002), mapping("0.0.0.0", 10002, client.ipv4, 10001)]
    run = started(client, *entries, role="ingress")
    with connect(client, "127.0.0.1", 10001) as sock, contextlib.suppress(ConnectionResetError):
        assert sock.recv(10) == b""
    run.wait_for("code=NET-LOOP", 60)


def test_who_is_not_verified_reaches_nothing_through_a_mapping(scene: Scene) -> None:
    trust = {"attest": {"aa_addr": f"unix://{AGENT_SOCKET}"}}
    out = {"mapping": {"in": {"port": 20001}, "out": {"host": "127.0.0.1", "port": scenes.PORT}}, **trust}
    started(scene.server, out, role="egress")
    verify = {"verify": {"as_addr": f"http://{SERVICE}/", "policy_ids": ["default"]}}
    comes = {"in": {"host": "127.0.0.1", "port": 10001}, "out": {"host": scene.server.ipv4, "port": 20001}}
    started(scene.client, {"mapping": comes, **verify}, role="ingress")
    assert scene.curl("http://127.0.0.1:10001/").stdout == PAGE
    scene.affirm(False)
    # The verdict ends with its token.
    for _ in range(60):
        if (done := scene.curl("http://127.0.0.1:10001/")).returncode:
            break
        threading.Event().wait(0.5)
    assert done.returncode in (7, 52, 56), done
    # Plaintext to the egress is not spoken to.
    assert scene.client.run("curl", "-sS", f"http://{scene.server.ipv4}:20001/", check=False).returncode != 0


def test_a_second_run_takes_the_ports_over(hosts: Lab, service: Service) -> None:
    client = hosts["client"]
    egress(hosts)
    document = {"add_ingress": [mapping("127.0.0.1", 10001, hosts["server"].ipv4, 20001)]}
    first = started(client, *document["add_ingress"], role="ingress")
    with connect(client, "127.0.0.1", 10001) as sock:
        assert seen(sock)
        second = client.start(RUNTIME, "run", str(client.state / "compiled"))
        second.wait_for(r"\bevent=serving\b")
        sock.sendall(b"still here")
        assert sock.recv(100) == b"still here"
        with connect(client, "127.0.0.1", 10001) as other:
            assert seen(other)
    assert first.wait(60) == 0
    assert second.stop() == 0
    assert client.run(tunnel.TNG, "down").returncode == 0
    assert client.run("nft", "list", "ruleset").stdout == ""
