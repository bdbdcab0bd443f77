"""Containers behind the client host, whose connections the ingress takes: nothing of them leaves in plaintext.

The leak suite of ``test_flushed`` and ``test_scenario`` with containers as senders, beside Docker's own rules.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from packets import container_rules, wire
from packets.bridge import Containers, containers
from runtime.senders import MARKER, Senders, assert_no_plaintext
from runtime.test_flushed import connected, write_on
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.scene import PAGE, PORT, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns

DOCUMENT = {
    "add_ingress": [
        {
            "netfilter": {"capture_dst": {"port": PORT}, "forwarded": "capture"},
            "verify": {"as_addr": f"http://{scenes.SERVICE}/", "policy_ids": ["default"]},
        }
    ]
}


@pytest.fixture
def scene(hosts: Lab) -> Scene:
    made = scenes.set_up(hosts)
    for family in wire.FAMILIES:
        command = "iptables-nft-restore" if family == "ipv4" else "ip6tables-nft-restore"
        made.client.run(command, stdin=container_rules.docker_iptables(family))
    return made


@pytest.fixture
def on(hosts: Lab, scene: Scene) -> Iterator[Containers]:
    with containers(hosts, scene.client) as built:
        yield built


@pytest.fixture
def config(scene: Scene) -> Path:
    return tunnel.write_config(scene.client.state / "config.json", DOCUMENT)


def page(sender: Host, url: str) -> str:
    return sender.run("curl", "-sS", "--max-time", "10", url, check=False).stdout


def test_containers_reach_the_server_through_the_tunnel_and_no_other_way(
    scene: Scene, on: Containers, config: Path
) -> None:
    """Older connections break; live and new ones are refused while the table is gone, and when the run is dead.

    One scene for all of ``test_106`` and ``test_65``: its start is what takes time.
    """
    addresses = (scene.server.ipv4, scene.server.ipv6)
    with contextlib.ExitStack() as stack:
        older = [stack.enter_context(connected(on.pod, address)) for address in addresses]
        tunnel.apply(scene.server, SERVER_CONFIG)
        ingress = tunnel.apply(scene.client, config)
        with scene.wire() as wire:
            for connection in older:
                with pytest.raises(OSError, match=r"reset|Broken"):
                    write_on(connection)
            for url in scene.urls().values():
                assert page(on.pod, url) == page(scene.client, url) == PAGE
            live = [stack.enter_context(connected(on.other, address)) for address in addresses]
            ingress.popen.send_signal(signal.SIGSTOP)
            scene.client.run("nft", "flush", "ruleset")
            for address, connection in zip(addresses, live, strict=True):
                with pytest.raises(OSError, match=r"reset|refused|Broken"):
                    write_on(connection)
                with on.pod.inside(), pytest.raises(ConnectionRefusedError):
                    socket.create_connection((address, PORT), timeout=10)
            ingress.popen.send_signal(signal.SIGCONT)
            ingress.wait_for("event=rules_restored")
            with Senders(on.pod, addresses[0]) as four, Senders(on.other, addresses[1]) as six:
                for commands in ("flush ruleset", "flush chain inet tng capture_forwarded"):
                    for senders in (four, six):
                        senders.wait_for_writes(senders.writes + 50)
                    said = len(ingress.output())
                    scene.client.run("nft", "-f", "-", stdin=commands)
                    ingress.wait_for("event=rules_restored", after=said)
                for senders in (four, six):
                    senders.wait_for_writes(senders.writes + 50)
                ingress.kill()
                for senders in (four, six):
                    senders.wait_for_failures(senders.failures + 20)
        assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
