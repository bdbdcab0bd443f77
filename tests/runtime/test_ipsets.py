"""The operator's ipset and the program: no set, no start; then what is in it is captured, and what is not is not."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.servers import answering
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import Process

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")
PORT = 8080
CONFIG = {"add_ingress": [{"netfilter": {"capture_dst": {"ipset": "peers", "port": PORT}}, "no_ra": True}]}
LONG = 60.0


@pytest.fixture
def client(hosts: Lab) -> Iterator[Host]:
    """A host with a compiled ingress; its peer's service answers in plaintext, without a tunnel."""
    client = hosts["client"]
    config = tunnel.write_config(client.state / "config.json", CONFIG)
    tunnel.compile_into(config, client.state / "compiled")
    with answering(hosts["server"], PORT, lambda data, _: data):
        yield client


def start(client: Host) -> Process:
    return client.start(RUNTIME, "run", str(client.state / "compiled"), env={"TNG_LOG_LEVEL": "debug"})


def reached(client: Host, address: str) -> bool:
    """Whether a connection gets an answer of the service, which it can in plaintext only."""
    with client.inside(), contextlib.suppress(OSError), socket.create_connection((address, PORT), timeout=LONG) as sock:
        sock.sendall(b"plaintext")
        return sock.recv(100) == b"plaintext"
    return False


def test_69_a_start_without_the_ipset_is_refused_by_name(client: Host) -> None:
    process = start(client)
    assert process.wait(LONG) == 3
    assert "the kernel has no ipset peers" in process.output()
    assert "ipset create peers hash:net" in process.output()


def test_what_is_put_into_the_ipset_is_captured_and_what_is_taken_out_is_not(hosts: Lab, client: Host) -> None:
    server = hosts["server"].ipv4
    client.run("ipset", "create", "peers", "hash:net")
    process = start(client)
    process.wait_for(r"\bevent=serving\b", LONG)
    assert reached(client, server)
    client.run("ipset", "add", "peers", f"{server}/32")
    process.wait_for(r"event=ipset_changed set=peers intervals=1 before=0", LONG)
    assert not reached(client, server)
    client.run("ipset", "destroy", "peers")
    process.wait_for(r"level=error event=ipset_gone set=peers", LONG)
    assert not reached(client, server)
    client.run("ipset", "create", "peers", "hash:ip")
    process.wait_for(r"event=ipset_changed set=peers intervals=0 before=1", LONG)
    assert reached(client, server)


def test_what_is_in_the_ipset_is_captured_from_the_start(hosts: Lab, client: Host) -> None:
    client.run("ipset", "create", "peers", "hash:ip")
    client.run("ipset", "add", "peers", hosts["server"].ipv4)
    start(client).wait_for(r"\bevent=serving\b", LONG)
    assert not reached(client, hosts["server"].ipv4)


def test_a_start_that_is_refused_keeps_what_the_rules_before_it_held(hosts: Lab, client: Host) -> None:
    client.run("ipset", "create", "peers", "hash:ip")
    client.run("ipset", "add", "peers", hosts["server"].ipv4)
    first = start(client)
    first.wait_for(r"\bevent=serving\b", LONG)
    first.kill()
    client.run("ipset", "destroy", "peers")
    assert start(client).wait(LONG) == 3
    for table in ("tng", "tng_guard"):
        assert hosts["server"].ipv4 in client.run("nft", "list", "set", "inet", table, "peers").stdout
    assert not reached(client, hosts["server"].ipv4)
