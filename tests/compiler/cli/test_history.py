"""What is kept of applied documents, how one returns, and what happens where nothing can be kept: real runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.tunnels import NO_RA, tables
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import Process

pytestmark = pytest.mark.netns

TNG = tunnel.TNG


def document(host: Host, port: int) -> Path:
    """A document that captures ``port``."""
    entry = {"netfilter": {"capture_dst": {"port": port}}, **NO_RA}
    return tunnel.write_config(host.state / f"{port}.json", {"add_ingress": [entry]})


def apply(host: Host, port: int, *options: str) -> Process:
    run = host.start(TNG, "apply", str(document(host, port)), "--workers", "1", *options)
    run.wait_for(r"\bevent=serving\b", 60)
    return run


def serves(host: Host) -> set[str]:
    """The ports that the rules of the host capture, of those of these tests."""
    listing = host.run("nft", "list", "ruleset").stdout
    return {str(port) for port in range(8001, 8010) if str(port) in listing}


def kept(host: Host) -> list[str]:
    return [line.split()[-1] for line in host.run(TNG, "rollback", "--list").stdout.splitlines()]


def rolled_back(host: Host) -> None:
    host.start(TNG, "rollback").wait_for(r"\bevent=serving\b", 60)


@pytest.fixture
def host(hosts: Lab) -> Host:
    return hosts["client"]


@pytest.mark.timeout(300)
def test_a_rollback_returns_to_the_document_before_and_another_one_further(host: Host) -> None:
    for port in (8001, 8002, 8003):
        apply(host, port)
    assert host.run(TNG, "rollback", "--print").stdout == document(host, 8002).read_text()
    rolled_back(host)
    assert serves(host) == {"8002"}
    rolled_back(host)
    assert serves(host) == {"8001"}
    done = host.run(TNG, "rollback", check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert "no document of inet tng before" in done.stderr
    assert serves(host) == {"8001"}


@pytest.mark.timeout(300)
def test_five_documents_are_kept_and_one_that_is_applied_again_is_the_same(host: Host) -> None:
    for port in (8001, 8002, 8003, 8004, 8005, 8006, 8006):
        apply(host, port)
    assert [Path(name).stem for name in kept(host)] == ["8002", "8003", "8004", "8005", "8006"]
    (directory,) = (host.state / "lib").iterdir()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert not list(directory.glob(".*"))


def test_a_document_that_never_served_is_not_kept(host: Host) -> None:
    apply(host, 8001).stop()
    attest = {"aa_addr": "unix:///run/no-agent.sock"}
    document = {"add_egress": [{"netfilter": {"capture_dst": {"port": 8002}}, "attest": attest}]}
    config = tunnel.write_config(host.state / "egress.json", document)
    done = host.run(TNG, "apply", str(config), check=False)
    assert done.returncode == 3, done
    assert [Path(name).stem for name in kept(host)] == ["8001"]
    assert [path.name.startswith(".") for path in (host.state / "lib" / "tng").iterdir()] == [False]


@pytest.mark.parametrize("how", ["full", "unwritable"])
def test_where_nothing_can_be_kept_nothing_is_changed(host: Host, how: str) -> None:
    lib = host.state / "lib"
    lib.mkdir(mode=0o700)
    option = "size=64k,nr_inodes=3" if how == "full" else "ro"
    mounted = f"mount -t tmpfs -o {option} none {lib} && exec {TNG} apply {document(host, 8001)}"
    done = host.run("sh", "-c", mounted, check=False)
    assert done.returncode == 3, done
    assert "help: " in done.stderr
    assert str(lib) in done.stderr
    assert "Traceback" not in done.stderr
    assert tables(host) == set()
    assert set(os.listdir(host.state / "run")) <= {"mount"}, "mount(8) makes one"
