"""The netfilter scenario as an operator meets it: `tng apply` on real hosts, and everything that can stand in its way.

The numbers are those of the catalogue of hostile inputs.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from runtime.senders import MARKER, Senders, assert_no_plaintext
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns


def ruleset(host: Host) -> str:
    return host.run("nft", "list", "ruleset").stdout


def closed_by(host: Host) -> bool:
    """Whether the two tables of a run are there, and no other."""
    return set(host.run("nft", "list", "tables").stdout.splitlines()) == {"table inet tng", "table inet tng_guard"}


def refused_start(host: Host, config: Path, *prefix: str) -> str:
    """The output of an apply that must end with exit status 3 and without a traceback."""
    done = host.run(*prefix, tunnel.TNG, "apply", str(config), check=False, timeout=60)
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_an_unmodified_client_reaches_an_unmodified_server_through_tls(scene: Scene, family: str) -> None:
    tunnel.apply(scene.server, SERVER_CONFIG)
    tunnel.apply(scene.client, CLIENT_CONFIG)
    with scene.wire() as wire:
        done = scene.curl(scene.urls()[family])
    assert (done.returncode, done.stdout) == (0, PAGE), done.stderr
    assert_no_plaintext(wire, b"GET /", PAGE.encode(), b"nginx")


def test_75_a_second_apply_takes_over_and_leaves_nothing_of_the_first(scene: Scene) -> None:
    first = tunnel.apply(scene.server, SERVER_CONFIG)
    tunnel.apply(scene.client, CLIENT_CONFIG)
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    second = tunnel.apply(scene.server, SERVER_CONFIG)
    assert first.wait() == 0
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    (documents,) = [name for name in scene.server.run("ls", "/run/tng").stdout.split() if name.count(".") == 1]
    assert documents == f"tng.{second.pid}"


def test_down_leaves_a_live_run_alone_and_cleans_up_after_a_killed_one(scene: Scene) -> None:
    run = tunnel.apply(scene.server, SERVER_CONFIG)
    refused = scene.server.run(tunnel.TNG, "down", check=False)
    assert refused.returncode == 3
    assert str(run.pid) in refused.stderr
    assert "table inet tng" in ruleset(scene.server)
    run.kill()
    assert "table inet tng" in ruleset(scene.server)
    scene.server.run(tunnel.TNG, "down")
    assert ruleset(scene.server) == ""
    assert scene.server.run("ls", "/run").stdout == "confidential-containers\n"
    again = scene.server.run(tunnel.TNG, "down", check=False)
    assert again.returncode == 0, "nothing to remove is what was asked for"


def test_66_a_start_after_a_killed_run_replaces_its_rules(scene: Scene) -> None:
    tunnel.serve(scene.server, SERVER_CONFIG)
    tunnel.apply(scene.client, CLIENT_CONFIG).kill()
    tunnel.apply(scene.client, CLIENT_CONFIG)
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE
    assert closed_by(scene.client)


def test_a_stopped_run_ends_with_0_and_leaves_its_rules_alone(scene: Scene) -> None:
    run = tunnel.apply(scene.server, SERVER_CONFIG)
    assert run.stop() == 0
    assert closed_by(scene.server)
    assert scene.curl(scene.urls()["IPv4"]).returncode == 7
    assert scene.server.run("ls", "/run").stdout == "confidential-containers\n"
    assert "Traceback" not in run.output()


def test_72_without_cap_net_admin_the_start_is_refused(scene: Scene) -> None:
    said = refused_start(scene.client, CLIENT_CONFIG, "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    assert "NET_ADMIN" in said
    assert ruleset(scene.client) == ""


def test_an_agent_that_is_absent_refuses_the_start_by_its_path(hosts: Lab) -> None:
    said = refused_start(hosts["server"], SERVER_CONFIG)
    assert scenes.AGENT_SOCKET in said
    assert closed_by(hosts["server"])


def test_a_taken_listen_port_refuses_the_start_and_changes_nothing(scene: Scene) -> None:
    before = ruleset(scene.client)
    with scene.client.inside(), socket.create_server(("127.0.0.1", 15001)):
        assert "TNG611" in refused_start(scene.client, CLIENT_CONFIG)
    assert ruleset(scene.client) == before


def test_73_a_connection_straight_to_the_listen_port_reaches_nothing(scene: Scene) -> None:
    tunnel.serve(scene.server, SERVER_CONFIG)
    tunnel.apply(scene.client, CLIENT_CONFIG)
    for host, target, port in (
        (scene.client, "127.0.0.1", 15001),
        (scene.client, scene.server.ipv4, 16001),
        (scene.server, "127.0.0.1", 16001),
    ):
        done = host.run("curl", "-sS", "--max-time", "5", f"http://{target}:{port}/", check=False)
        assert done.returncode in {7, 52, 56}, done
    assert scene.web.requests() == []
    assert scene.curl(scene.urls()["IPv4"]).stdout == PAGE


@pytest.mark.parametrize("end", ["SIGTERM", "SIGKILL", "open"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_65_no_plaintext_leaves_while_clients_send_and_the_ingress_ends(
    scene: Scene, end: str, family: str, tmp_path: Path
) -> None:
    """Connections of before, of during and of after the end; where the rules go on purpose, of before and during."""
    tunnel.serve(scene.server, SERVER_CONFIG)
    options = ["--on-exit", "open"] if end == "open" else []
    ingress = tunnel.run(scene.client, CLIENT_CONFIG, tmp_path, "--drain", "0.5", *options)
    target = scene.server.ipv4 if family == "ipv4" else scene.server.ipv6
    with scene.wire() as wire, Senders(scene.client, target) as senders:
        senders.wait_for_writes(200)
        if end != "open":
            before = senders.failures
            ingress.kill() if end == "SIGKILL" else ingress.stop(timeout=60)
            senders.wait_for_failures(before + 20)
        else:
            senders.open_no_more()
            ingress.stop(timeout=60)
            senders.wait_until_all_ended()
    assert_no_plaintext(wire, MARKER[:24])


def test_107_a_restart_under_load_has_no_window(scene: Scene, tmp_path: Path) -> None:
    tunnel.serve(scene.server, SERVER_CONFIG)
    ingress = tunnel.run(scene.client, CLIENT_CONFIG, tmp_path, "--drain", "0.1")
    with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
        for _ in range(3):
            senders.wait_for_writes(senders.writes + 100)
            assert ingress.stop(timeout=60) == 0
            ingress = tunnel.run(scene.client, CLIENT_CONFIG, tmp_path, "--drain", "0.1")
        senders.wait_for_writes(senders.writes + 100)
    assert_no_plaintext(wire, MARKER[:24])
