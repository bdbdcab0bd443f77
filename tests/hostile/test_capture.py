"""Capture under attack (65, 67, 69, 74, 88): what ends or starts while clients send, and whose trust a connection gets.

66, 72, 73 and 75, and the signals of 65, are played in tests/runtime/test_scenario.py and tests/packets.
"""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from hostile import service as services
from hostile import stage as stages
from hostile import tls13
from hostile.stage import BACKGROUND, HONEST, NO_RA, PASSPORT, PATIENCE, Log, Stage
from hostile.tls13 import Shown
from runtime.attest import makers
from runtime.attest.makers import ec_key
from runtime.senders import MARKER, Senders, assert_no_plaintext
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.lab import Lab

pytestmark = pytest.mark.netns

# Fifty in all, for there are two sides; each is a process of its own.
STARTS = 25


@pytest.mark.parametrize("end", [signal.SIGSEGV, signal.SIGABRT], ids=["SIGSEGV", "SIGABRT"])
def test_65_no_plaintext_leaves_when_the_ingress_crashes(hosts: Lab, end: signal.Signals) -> None:
    """Connections of before and of after the crash, seen from the wire."""
    with scenes.inside_of_us(hosts) as scene:
        tunnel.serve(scene.server, scenes.SERVER_CONFIG)
        ingress = tunnel.serve(scene.client, scenes.CLIENT_CONFIG)
        with scene.wire() as wire, Senders(scene.client, scene.server.ipv4) as senders:
            senders.wait_for_writes(200)
            ingress.popen.send_signal(end)
            senders.wait_for_failures(20)
        assert not ingress.alive()
        assert_no_plaintext(wire, MARKER[:24])


def test_67_ipv6_to_a_captured_port_is_captured(tmp_path: Path) -> None:
    """The server sees TLS of a verifying client, never the application's own bytes."""
    with stages.stage("ingress", tmp_path, ports=[BACKGROUND]) as stage:
        client, server = stage.lab["client"], stage.lab["server"]
        with server.inside():
            listener = socket.create_server((server.ipv6, BACKGROUND), family=socket.AF_INET6)
        with client.inside():
            app = socket.create_connection((server.ipv6, BACKGROUND), timeout=PATIENCE)
        with listener, app:
            app.sendall(b"hello")
            listener.settimeout(PATIENCE)
            with listener.accept()[0] as peer:
                assert tls13.server(peer, stages.honest()).application() == b"hello"


def test_69_a_cgroup_that_is_missing_refuses_the_start(hosts: Lab, tmp_path: Path) -> None:
    """By its name, and it stays closed."""
    capture = {"capture_dst": {"port": BACKGROUND}, "capture_cgroup": ["/no.such.slice"]}
    source, output = tmp_path / "config.json", tmp_path / "compiled"
    source.write_text(json.dumps({"add_ingress": [{"netfilter": capture, "no_ra": True}]}), encoding="utf-8")
    tunnel.compile_into(source, output)
    done = hosts["client"].run(stages.RUNTIME, "run", str(output), check=False)
    assert (done.returncode, "no.such.slice" in done.stderr) == (3, True), done
    assert "table inet tng_guard" in hosts["client"].run("nft", "list", "tables").stdout
    with hosts["client"].inside(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((hosts["server"].ipv4, BACKGROUND), timeout=PATIENCE)


def test_74_its_own_calls_to_the_service_are_not_captured(hosts: Lab, tmp_path: Path) -> None:
    """The service lies on the other host, at a port that the entry captures from everybody else."""
    client, server = hosts["client"], hosts["server"]
    pin = tmp_path / "pin.pem"
    pin.write_bytes(HONEST.pem)
    with server.inside():
        service = services.Service((server.ipv4, 9081), HONEST.pem)
        listener = socket.create_server((server.ipv4, BACKGROUND))
    service.attestation = services.text(stages.honest_token())
    asked = {"as_addr": f"http://{server.ipv4}:9081/", "policy_ids": [makers.POLICY], "trusted_certs_paths": [str(pin)]}
    capture = {"capture_dst": {"port": BACKGROUND, "port_end": 9090}}
    with service, listener:
        run = stages.start(client, tmp_path, {"add_ingress": [{"netfilter": capture, "verify": asked}]})
        log = Log(run.log)
        with client.inside():
            app = socket.create_connection((server.ipv4, BACKGROUND), timeout=PATIENCE)
        with app:
            app.sendall(b"hello")
            listener.settimeout(PATIENCE)
            with listener.accept()[0] as peer:
                tls = tls13.server(peer, stages.honest())
                assert tls.application() == b"hello"
        assert [address[0] for address in service.peers] == [client.ipv4]
        log.wait(lambda line: line["event"] == "closed")
        assert run.stop() == 0
        endings = [line for line in log.read() if line["event"] in ("closed", "refused")]
    assert [line["dst"] for line in endings] == [f"{server.ipv4}:{BACKGROUND}"]


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_88_each_connection_gets_the_trust_of_its_own_entry(side: stages.Side, tmp_path: Path) -> None:
    """Three entries of one run with different trust, through many starts."""
    with stages.stage(side, tmp_path, ports=[NO_RA, BACKGROUND, PASSPORT]) as stage:
        for number in range(STARTS):
            if number:
                stage.run.stop()
                stage.run = stages.again(stage)
                stage.log = Log(stage.run.log)
            _each_entry_demands_its_own(stage)


def _each_entry_demands_its_own(stage: Stage) -> None:
    throwaway = Shown([makers.peer_certificate(None)], ec_key())

    def shows(shown: Shown) -> stages.Play:
        if stage.side == "ingress":
            return lambda sock: tls13.server(sock, shown)
        return lambda sock: tls13.client(sock, shown)

    passes = {
        NO_RA: throwaway,
        BACKGROUND: stages.honest(),
        PASSPORT: stages.passport(stages.honest_token()),
    }
    for port, shown in passes.items():
        held = stage.open(port, shown)
        held.close()
        line = stage.log.wait(lambda line, client=held.client: line.get("src") == client)  # type: ignore[misc]
        assert line["entry"] == f"/add_{stage.side}/{list(passes).index(port)}"
    for port, code in (
        (BACKGROUND, "RA-CERT-NO-EVIDENCE"),
        (PASSPORT, "RA-CERT-NO-EVIDENCE"),
    ):
        line = stage.refused(stage.hostile(port, shows(throwaway)), code)
        assert line["entry"] == f"/add_{stage.side}/{list(passes).index(port)}"
