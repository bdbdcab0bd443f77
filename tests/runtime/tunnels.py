"""Two hosts with a compiled end each and an application behind the egress: what tests of a run begin with."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import PATIENCE, Process

RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")
PORT = 8080
CAPTURE = {"capture_dst": {"port": PORT}}
NO_RA = {"no_ra": True}


def compiled(host: Host, document: object) -> Path:
    """The directory with what the compiler makes of ``document``."""
    config = tunnel.write_config(host.state / "config.json", document)
    return tunnel.compile_into(config, host.state / "compiled")


@dataclass
class Tunnel:
    """Two compiled ends and a listening application behind the egress."""

    lab: Lab
    client: Path
    server: Path
    listener: socket.socket

    def start(self, host: str, *options: str, wait: bool = True) -> Process:
        directory = self.client if host == "client" else self.server
        process = self.lab[host].start(RUNTIME, "run", str(directory), *options)
        if wait:
            process.wait_for(r"\bevent=serving\b")
        return process

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """An application's connection through the tunnel, and the other end of it."""
        with self.lab["client"].inside():
            near = socket.create_connection((self.lab["server"].ipv4, PORT), timeout=PATIENCE)
        near.sendall(b"hello")
        far, _ = self.listener.accept()
        far.settimeout(PATIENCE)
        assert far.recv(100) == b"hello"
        return near, far


@pytest.fixture
def ends(hosts: Lab) -> Iterator[Tunnel]:
    client = compiled(hosts["client"], {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    server = compiled(hosts["server"], {"add_egress": [{"netfilter": CAPTURE, **NO_RA}]})
    with hosts["server"].inside():
        listener = socket.create_server(("0.0.0.0", PORT))
    listener.settimeout(PATIENCE)
    with listener:
        yield Tunnel(hosts, client, server, listener)


BOTH = {"table inet tng", "table inet tng_guard"}


def tables(host: Host) -> set[str]:
    return set(host.run("nft", "list", "tables").stdout.splitlines())


def assert_closed(host: Host, target: str) -> None:
    """Both tables are there, and refuse what they capture."""
    assert tables(host) == BOTH
    with host.inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((target, PORT), timeout=PATIENCE)
