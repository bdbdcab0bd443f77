"""What others do to the rules while the program runs: nothing captured gets out, it is undone at once, and it is said.

The numbers are those of the catalogue of hostile inputs.
"""

from __future__ import annotations

import re
import select
import signal
import socket

import pytest

from runtime.senders import MARKER, Senders, assert_no_plaintext
from tng_demo import tunnel
from tng_demo.lab import Host
from tng_demo.scene import CLIENT_CONFIG, PAGE, PORT, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns

ATTACKS = {
    "flush": ("flush ruleset", "table tng removed"),
    "debian": ("flush ruleset; table inet filter { chain input { type filter hook input priority 0; }; }", "table tng"),
    "table": ("delete table inet tng", "table tng removed"),
    "chain": (
        "flush chain inet tng capture_output; delete chain inet tng capture_output",
        "chain capture_output removed",
    ),
    "rules": ("flush chain inet tng capture_output", "chain capture_output: 'jump ingress_0"),
    "redirect": ("flush chain inet tng ingress_0", "redirect to :15001"),
    "added": ("insert rule inet tng capture_output accept", "chain capture_output: 'accept' added"),
}

# Before everything that could notice: what the kernel says for a dead program's sockets never leaves them.
WITHOUT_RESETS = """table inet deaf { chain silence { type filter hook output priority -400;
  tcp flags & rst == rst drop; }; }"""
ESTABLISHED = 1  # net/tcp_states.h


@pytest.fixture
def scene(scene: Scene) -> Scene:
    tunnel.serve(scene.server, SERVER_CONFIG)
    return scene


def attack(host: Host, commands: str) -> None:
    host.run("nft", "-f", "-", stdin=commands)


def write_on(sock: socket.socket) -> None:
    """Write until it breaks, at most for some seconds."""
    for _ in range(100):
        sock.sendall(MARKER)
        select.select([sock], [], [], 0.05)


def rules(host: Host) -> str:
    return re.sub(r"packets \d+ bytes \d+", "", host.run("nft", "list", "table", "inet", "tng").stdout)


@pytest.mark.parametrize("name", ATTACKS)
def test_106_what_others_remove_or_change_is_loaded_again_and_nothing_got_out(scene: Scene, name: str) -> None:
    commands, says = ATTACKS[name]
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    before = rules(scene.client)
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
        senders.wait_for_writes(200)
        for _ in range(3):
            said = len(ingress.output())
            attack(scene.client, commands)
            changed = ingress.wait_for(r"event=rules_changed.*", after=said)[0]
            assert says in changed
            assert re.search(r" by=nft\[\d+\]", changed)
            ingress.wait_for("event=rules_restored", after=said)
            assert rules(scene.client) == before
            senders.wait_for_writes(senders.writes + 50)
    assert_no_plaintext(wire, MARKER[:24])
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_106_while_the_table_is_gone_the_owned_guard_refuses_live_and_new_connections(
    scene: Scene, family: str
) -> None:
    """The program is stopped (SIGSTOP), so that nothing is loaded again; its guard stands."""
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    target = scene.server.ipv4 if family == "ipv4" else scene.server.ipv6
    with scene.wire() as wire, connected(scene.client, address_of(scene, family)) as live:
        ingress.popen.send_signal(signal.SIGSTOP)
        attack(scene.client, "flush ruleset")
        assert scene.client.run("nft", "list", "tables").stdout == "table inet tng_guard\n"
        refused = scene.client.run("nft", "delete", "table", "inet", "tng_guard", check=False)
        assert "Operation not permitted" in refused.stderr
        with pytest.raises(OSError, match=r"reset|refused|Broken"):
            write_on(live)
        with scene.client.inside(), pytest.raises(ConnectionRefusedError):
            socket.create_connection((target, PORT), timeout=10)
        ingress.popen.send_signal(signal.SIGCONT)
        ingress.wait_for("event=rules_restored")
        assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())


def test_106_a_killed_run_leaves_a_guard_that_the_next_one_replaces(scene: Scene) -> None:
    tunnel.serve(scene.client, CLIENT_CONFIG).kill()
    attack(scene.client, "delete table inet tng")
    assert scene.curl(scene.urls()["IPv4"]).returncode == 7, "the guard that was owned refuses still (persist)"
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    assert "flags owner" in scene.client.run("nft", "list", "table", "inet", "tng_guard").stdout
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    assert "rules_changed" not in ingress.output(), "its own loads are not foreign"


def test_changes_of_other_tables_are_left_alone(scene: Scene) -> None:
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    attack(scene.client, "table inet filter { chain input { type filter hook input priority 0; }; }")
    attack(scene.client, "delete table inet filter")
    said = len(ingress.output())
    attack(scene.client, "delete table inet tng")
    first = ingress.wait_for(r"event=rules_\w+", after=said)[0]
    assert first == "event=rules_changed"
    assert ingress.output()[:said].count("event=rules_changed") == 0


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_108_down_ends_what_an_application_holds_before_the_rules_go(scene: Scene, family: str) -> None:
    """The program is killed, its resets are lost, and the application writes on after `down`."""
    ingress = tunnel.serve(scene.client, CLIENT_CONFIG)
    with scene.wire() as wire, connected(scene.client, address_of(scene, family)) as live:
        scene.client.run("nft", "-f", "-", stdin=WITHOUT_RESETS)
        ingress.kill()
        scene.client.run("nft", "delete", "table", "inet", "deaf")
        assert state_of(live) == ESTABLISHED
        scene.client.run(tunnel.TNG, "down")
        assert scene.client.run("nft", "list", "tables").stdout == ""
        with pytest.raises(OSError, match=r"reset|abort|Broken"):
            write_on(live)
    assert_no_plaintext(wire, MARKER[:24])


def address_of(scene: Scene, family: str) -> str:
    return scene.server.ipv4 if family == "ipv4" else scene.server.ipv6


def connected(sender: Host, address: str) -> socket.socket:
    """A connection of ``sender`` through the tunnel, proved by a request."""
    with sender.inside():
        live = socket.create_connection((address, PORT), timeout=20)
    live.sendall(b"GET / HTTP/1.1\r\nHost: live\r\n\r\n")
    got = b""
    while PAGE.encode() not in got:
        got += live.recv(1 << 16)
    return live


def state_of(sock: socket.socket) -> int:
    """Of tcp_info, linux/tcp.h."""
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
