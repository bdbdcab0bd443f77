"""Doors for users without any privilege: nothing of the host is changed, and every command knows their runs."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from compiler.cli.test_confirm import until
from runtime.plain import reads_checkout
from runtime.test_client_address import Service, seen
from runtime.test_mapping import connect, egress, mapping
from runtime.tunnels import CAPTURE, NO_RA, RUNTIME, tables
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_schema import contract

pytestmark = [pytest.mark.netns, reads_checkout]

TNG = str(Path(sys.prefix) / "bin" / "tng")
BACKEND = 5432
USER = 65534


@pytest.fixture
def service(hosts: Lab) -> Iterator[Service]:
    serving = Service(hosts["server"], BACKEND)
    yield serving
    serving.close()


def as_user(host: Host, *argv: str) -> list[str]:
    """The command as nobody, without a capability, who has a home of his own."""
    home = host.state / "home"
    if not home.exists():
        home.mkdir(mode=0o700)
        host.run("chown", f"{USER}:{USER}", str(home))
    drop = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--bounding-set=-all", "--no-new-privs"]
    return [*drop, "env", "--unset=STATE_DIRECTORY", f"HOME={home}", f"XDG_RUNTIME_DIR={home}", *argv]


def test_apply_status_takeover_and_down(hosts: Lab, service: Service) -> None:
    client, server = hosts["client"], hosts["server"]
    egress(hosts)
    document = {"add_ingress": [mapping("127.0.0.1", 10001, server.ipv4, 20001)]}
    config = tunnel.write_config(client.state / "doors.json", document)
    config.chmod(0o644)
    checked = client.run(*as_user(client, TNG, "doctor", str(config)), check=False)
    assert checked.returncode == 0, checked.stdout
    run = client.start(*as_user(client, TNG, "apply", str(config)))
    run.wait_for(r"\bevent=serving\b")
    with connect(client, "127.0.0.1", 10001) as sock:
        assert seen(sock) == "127.0.0.1"
        assert tables(client) == set(), "no rules"
        said = client.run(*as_user(client, TNG, "status", "--format", "json"))
        (instance,) = json.loads(said.stdout)["instances"]
        assert instance["rules"]["needed"] is False
        assert instance["problems"] == []
        text = client.run(*as_user(client, TNG, "status")).stdout
        assert "no rules: nothing is captured" in text
        for pid in run.all_pids():
            status = Path(f"/proc/{pid}/status").read_text("ascii")
            assert "CapEff:\t0000000000000000" in status
            assert f"Uid:\t{USER}\t{USER}" in status
        # A second run takes over; what is open goes on.
        heir = client.start(*as_user(client, TNG, "launch", "--config-content", json.dumps(document)))
        heir.wait_for(r"\bevent=taken_over\b")
        sock.sendall(b"still here")
        assert sock.recv(100, socket.MSG_WAITALL) == b"still here" or pytest.fail("cut")
    assert run.popen.wait(60) == 0
    alive = client.run(*as_user(client, TNG, "down"), check=False)
    assert alive.returncode == 3
    assert "is already run by process" in alive.stderr
    # What a killed one leaves goes with `down`; who has left nothing cannot know what root has.
    heir.kill()
    assert "nothing_to_remove" in client.run(*as_user(client, TNG, "down")).stderr
    assert "CAP_NET_ADMIN" in client.run(*as_user(client, TNG, "down"), check=False).stderr
    assert [path.name for path in (client.state / "home").iterdir() if path.name != ".local"] == []
    kept = client.state / "home" / ".local" / "state" / "tng" / "tng"
    assert len(list(kept.iterdir())) == 2


def test_what_is_not_confirmed_is_taken_back_without_privileges(hosts: Lab) -> None:
    client = hosts["client"]
    document = {"add_ingress": [mapping("127.0.0.1", 10001, hosts["server"].ipv4, 20001)]}
    config = tunnel.write_config(client.state / "doors.json", document)
    config.chmod(0o644)
    run = client.start(*as_user(client, TNG, "apply", str(config), "--confirm", "600"))
    run.wait_for(r"\bevent=serving\b")
    assert client.run(*as_user(client, TNG, "confirm")).stdout == "confirmed: inet tng\n"
    assert run.stop() == 0
    run = client.start(*as_user(client, TNG, "apply", str(config), "--confirm", "600"))
    run.wait_for(r"\bevent=serving\b")
    run.stop()
    until(lambda: "what was before returns: open" in run.output(), "nobody takes it back")
    until(lambda: not list((client.state / "home").glob("tng/*")), "something is left")
    assert "help: " not in run.output().rpartition("event=stopped")[2]
    said = client.run(*as_user(client, TNG, "status"), check=False)
    assert said.returncode == 3
    assert "sudo tng status" in said.stderr


def test_the_run_of_root_may_have_the_port_that_a_user_cannot_look_at(hosts: Lab) -> None:
    client = hosts["client"]
    config = tunnel.write_config(client.state / "config.json", {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    config.chmod(0o644)
    client.start(TNG, "apply", str(config)).wait_for(r"\bevent=serving\b")
    said = client.run(*as_user(client, TNG, "doctor", str(config)), check=False)
    assert said.returncode == 3
    assert "only root sees whose it is" in said.stdout


def test_what_captures_needs_more(hosts: Lab) -> None:
    client = hosts["client"]
    document = {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}, mapping("127.0.0.1", 10001, "192.0.2.1", 1)]}
    config = tunnel.write_config(client.state / "both.json", document)
    config.chmod(0o644)
    refused = client.run(*as_user(client, TNG, "apply", str(config)), check=False)
    assert refused.returncode == 3
    assert "TNG605" in refused.stderr
    made = tunnel.compile_into(config, client.state / "made")
    made.chmod(0o755)
    refused = client.run(*as_user(client, RUNTIME, "run", str(made)), check=False)
    assert refused.returncode == 3
    assert "CAP_NET_ADMIN" in refused.stderr
    assert contract.RUN_DIRECTORY not in refused.stderr


def test_who_may_change_rules_has_the_lock_where_all_look_for_it(hosts: Lab) -> None:
    client = hosts["client"]
    config = tunnel.write_config(client.state / "config.json", {"add_ingress": [{"netfilter": CAPTURE, **NO_RA}]})
    made = tunnel.compile_into(config, client.state / "made")
    made.chmod(0o755)
    able = "+net_admin,+net_raw"
    user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", f"--inh-caps={able}"]
    refused = client.run(*user, f"--ambient-caps={able}", RUNTIME, "run", str(made), check=False)
    assert refused.returncode == 3
    assert f"{contract.RUN_DIRECTORY} is not this user's" in refused.stderr
    assert tables(client) == set()
