"""Several instances in one network namespace: each serves, none captures what another dials, each goes alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from runtime.tunnels import NO_RA, tables
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import Process

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

TNG = tunnel.TNG


def start(host: Host, kind: str, name: str, netfilter: object) -> Process:
    config = tunnel.write_config(host.state / f"{name}.json", {kind: [{"netfilter": netfilter, **NO_RA}]})
    run = host.start(TNG, "apply", str(config), "--instance", name, "--workers", "1")
    run.wait_for(r"\bevent=serving\b", 60)
    return run


@contextmanager
def listening(host: Host, port: int) -> Iterator[socket.socket]:
    with host.inside():
        listener = socket.create_server(("0.0.0.0", port))
    listener.settimeout(30)
    with listener:
        yield listener


def gets_through(hosts: Lab, listener: socket.socket, port: int) -> bool:
    with hosts["client"].inside():
        near = socket.create_connection((hosts["server"].ipv4, port), timeout=30)
    with near:
        near.sendall(b"hello")
        far, _ = listener.accept()
        with far:
            far.settimeout(30)
            return far.recv(100) == b"hello"


def test_two_on_each_side_serve_and_end_alone(hosts: Lab) -> None:
    client, server = hosts["client"], hosts["server"]
    runs = {}
    for name, port in (("a", 8001), ("b", 8002)):
        start(server, "add_egress", name, {"capture_dst": {"port": port}})
        runs[name] = start(client, "add_ingress", name, {"capture_dst": {"port": port}})
    with listening(server, 8001) as first, listening(server, 8002) as second:
        assert gets_through(hosts, first, 8001)
        assert gets_through(hosts, second, 8002)
        assert runs["a"].stop() == 0
        client.run(TNG, "down", "--instance", "a")
        assert tables(client) == {"table inet tng_b", "table inet tng_b_guard"}
        assert gets_through(hosts, second, 8002)
    assert "relayed=1" in runs["a"].output().splitlines()[-1]


def test_what_one_dials_is_not_captured_by_another_that_captures_the_same(hosts: Lab) -> None:
    """Both capture the port; whichever is first gets it, and the tunnel that it dials goes past the other."""
    start(hosts["server"], "add_egress", "a", {"capture_dst": {"port": 8001}})
    for name in ("a", "b"):
        start(hosts["client"], "add_ingress", name, {"capture_dst": {"port": 8001}})
    with listening(hosts["server"], 8001) as listener:
        assert gets_through(hosts, listener, 8001)


@pytest.mark.parametrize("name", ["", "guard", "a_guard", "A", "a-b", "a" * 33])
def test_what_is_no_name_of_an_instance_is_refused(hosts: Lab, name: str) -> None:
    done = hosts["client"].run(TNG, "confirm", "--instance", name, check=False)
    assert done.returncode == 2
    assert "--instance: expected" in done.stderr
