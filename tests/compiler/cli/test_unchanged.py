"""An apply that fails leaves the host as it was, byte for byte: rules, addresses, routes, processes, files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from compiler.cli.test_history import TNG, host
from runtime.tunnels import NO_RA
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import Process

__all__ = ["host"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

PORT = 8001
DROPS = "add table inet zz; add chain inet zz input { type filter hook input priority 0; }; "
DROPS += "add rule inet zz input tcp dport 15001 drop"


def ingress(hosts: Lab, **more: object) -> object:
    """A document of which a flow can be tried from here."""
    destination = [{"host": hosts["server"].ipv4, "port": PORT}, {"port": 9001}]
    return {"add_ingress": [{"netfilter": {"capture_dst": destination}, **(more or NO_RA)}]}


WITHOUT_AGENT = {"attest": {"aa_addr": "unix:///run/no-agent.sock"}}
WITHOUT_CGROUP = {"add_ingress": [{"netfilter": {"capture_cgroup": ["tng-nowhere.slice"]}, **NO_RA}]}


def state(host: Host, run: Process | None) -> dict[str, object]:
    """All that is compared. Tables are sorted: what was given back is loaded once more, and comes last."""
    commands = {
        "addresses": "ip -o address show",
        "rules": "ip rule; ip -6 rule; ip route show table all",
        "listeners": "ss -Htln",
        "files": "cd /run && find . -name mount -prune -o -printf '%p %m %U %s\\n' | sort; cat /run/tng/*.lock",
        "documents": f"cd {host.state} && find lib | sort",
    }
    said = {name: host.run("sh", "-c", command, check=False).stdout for name, command in commands.items()}
    tables = host.run("nft", "-s", "list", "ruleset").stdout.split("table ")
    return said | {
        "ruleset": sorted(line for line in "\ntable ".join(sorted(tables)).splitlines() if "progname" not in line),
        "processes": sorted(run.all_pids()) if run else [],
    }


def settled(host: Host, run: Process | None, before: dict[str, object]) -> dict[str, object]:
    """The state, once it is that of before, or after a minute: a run that goes on does so after the other has ended."""
    end = time.monotonic() + 60
    while (found := state(host, run)) != before and time.monotonic() < end:
        time.sleep(0.2)
    return found


def fails(host: Host, document: object, *options: str) -> str:
    config = tunnel.write_config(host.state / "other.json", document)
    done = host.run(TNG, "apply", str(config), *options, check=False)
    assert done.returncode == 3, done
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("runs", [False, True], ids=["nothing_ran", "a_run_is_there"])
@pytest.mark.parametrize("why", ["preflight", "agent", "probe", "full"])
def test_what_fails_leaves_everything_as_it_was(hosts: Lab, host: Host, why: str, runs: bool) -> None:
    run = None
    if runs:
        config = tunnel.write_config(host.state / "config.json", ingress(hosts))
        run = host.start(TNG, "apply", str(config), "--workers", "1")
        run.wait_for(r"\bevent=serving\b", 60)
    if why == "probe":
        host.run("nft", DROPS)
    before = state(host, run)
    match why:
        case "preflight":
            assert "TNG612" in fails(host, WITHOUT_CGROUP)
        case "agent":
            # Without a run of before the rules of a failed start refuse (decision 0403); --confirm takes them back too.
            fails(host, ingress(hosts, **WITHOUT_AGENT), *([] if runs else ["--confirm", "600"]))
        case "probe":
            assert "does not arrive at port 15001" in fails(host, ingress(hosts, no_ra=True), "--drain", "5")
        case _:
            full = f"mount -t tmpfs -o size=4k,nr_inodes=2 none {host.state}/lib"
            config = Path(tunnel.write_config(host.state / "other.json", ingress(hosts, no_ra=True)))
            command = f"mkdir -p {host.state}/lib && {full} && exec {TNG} apply {config} --drain 5"
            assert host.run("sh", "-c", command, check=False).returncode == 3
            (host.state / "lib").rmdir() if not runs else None
    assert settled(host, run, before) == before


def test_a_word_that_the_runtime_does_not_take_leaves_nothing(hosts: Lab, host: Host) -> None:
    """The runtime judges its options, when everything was written for it already."""
    config = tunnel.write_config(host.state / "config.json", ingress(hosts))
    before = state(host, None)
    for options, words, status in (
        (["--workers", "0"], "--workers", 2),
        (["--user", "root"], "root is root", 3),
        ([], "TNG_LOG_LEVEL: expected", 2),
    ):
        prefix = [] if options else ["env", "TNG_LOG_LEVEL=loud"]
        done = host.run(*prefix, TNG, "apply", str(config), *options, check=False)
        assert done.returncode == status, done
        assert words in done.stderr
    assert state(host, None) == before
