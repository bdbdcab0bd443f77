"""A run tries what it captures before it lets anybody in, and gives back what was there if that does not arrive."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from runtime.tunnels import NO_RA, PORT
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_runtime.kernel import probe

TNG = tunnel.TNG
# What a host's firewall does that knows of no redirect.
DROPS = "add table inet firewall; add chain inet firewall input { type filter hook input priority 0; }; "
DROPS += "add rule inet firewall input tcp dport 15001 drop"


@pytest.mark.parametrize("text", ["", "10.0.0.1", "10.0.0.1:80", "10.0.0.1:0=1", "[::1:80=1", "a:80=1"])
def test_what_is_no_probe_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a probe: "):
        probe.parse(text)


def test_probes_are_read() -> None:
    assert probe.parse("10.0.0.1:80=15001") == probe.Probe("10.0.0.1", 80, 15001)
    assert probe.parse("[FD00::1]:80=15001".lower()) == probe.Probe("fd00::1", 80, 15001)
    assert probe.parse("none") is None


def write(host: Host, hosts: Lab, *more: int) -> str:
    server = hosts["server"]
    captured = [{"host": address, "port": port} for address in (server.ipv4, server.ipv6) for port in (PORT, *more)]
    document = {"add_ingress": [{"netfilter": {"capture_dst": captured}, **NO_RA}]}
    return str(tunnel.write_config(host.state / "config.json", document))


def ruleset(host: Host) -> str:
    return re.sub(r"packets \d+ bytes \d+|progname \S+|# .*", "", host.run("nft", "list", "ruleset").stdout)


@pytest.mark.netns
def test_a_flow_of_each_family_is_tried_and_nothing_is_relayed(hosts: Lab) -> None:
    client = hosts["client"]
    run = client.start(TNG, "apply", write(client, hosts))
    run.wait_for(r"\bevent=serving\b", 60)
    assert len(re.findall(r"event=probed .*listen_port=15001", run.output())) == 2
    second = client.start(TNG, "apply", write(client, hosts, 8081))
    second.wait_for(r"\bevent=serving\b", 60)
    assert run.wait(60) == 0
    assert second.stop() == 0
    for output in (run.output(), second.output()):
        assert "relayed=0" in output.splitlines()[-1]
        assert "refused" not in output.replace("is refused until", "")


@pytest.mark.netns
def test_a_filter_that_drops_what_is_redirected_is_found_and_an_open_host_is_open_again(hosts: Lab) -> None:
    client = hosts["client"]
    client.run("nft", DROPS)
    before = ruleset(client)
    done = client.run(TNG, "apply", write(client, hosts), check=False)
    assert done.returncode == 3, done
    assert "which is captured, does not arrive at port 15001: nothing came back" in done.stderr
    assert ruleset(client) == before
    assert os.listdir(client.state / "run") == []


@pytest.mark.netns
def test_a_host_that_was_closed_stays_closed(hosts: Lab) -> None:
    client = hosts["client"]
    config = write(client, hosts)
    tunnel.compile_into(Path(config), client.state / "compiled")
    client.run(f"{TNG}-runtime", "guard", str(client.state / "compiled"))
    client.run("nft", DROPS)
    assert client.run(TNG, "apply", config, check=False).returncode == 3
    assert "table inet tng" in client.run("nft", "list", "tables").stdout.splitlines()


@pytest.mark.netns
@pytest.mark.timeout(240)
def test_the_instance_that_ran_goes_on_if_the_next_ones_flow_does_not_arrive(hosts: Lab) -> None:
    client = hosts["client"]
    old = client.start(TNG, "apply", write(client, hosts))
    old.wait_for(r"\bevent=serving\b", 60)
    client.run("nft", DROPS)
    before = ruleset(client)
    done = client.run(TNG, "apply", write(client, hosts, 8081), check=False)
    assert done.returncode == 3, done
    assert "the instance that runs already goes on as before" in done.stderr
    old.wait_for("event=takeover_failed", 60)
    assert sorted(ruleset(client).split("table ")) == sorted(before.split("table ")), "whichever was loaded last"
    client.run("nft", "delete table inet firewall")
    third = client.start(TNG, "apply", write(client, hosts, 8082))
    third.wait_for(r"\bevent=serving\b", 60)
    assert old.wait(60) == 0, "it has handed over to the third"


@pytest.mark.netns
def test_what_cannot_be_tried_from_here_is_said(hosts: Lab) -> None:
    client = hosts["client"]
    config = tunnel.write_config(
        client.state / "config.json", {"add_ingress": [{"netfilter": {"capture_dst": {"port": PORT}}, **NO_RA}]}
    )
    run = client.start(TNG, "apply", str(config))
    run.wait_for(r"\bevent=serving\b", 60)
    assert 'event=probe_skipped destination=192.0.2.1:8080 reason="there is no route to it' in run.output()
