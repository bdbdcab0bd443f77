"""What was not confirmed is taken back, whoever typed it and whatever became of them: real runs."""

from __future__ import annotations

import os
import re
import shlex
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.cli.test_history import TNG, apply, document, host, kept, serves
from runtime.tunnels import tables
from tng_demo import tunnel
from tng_demo.lab import Host
from tng_demo.process import Process

__all__ = ["host"]

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

# Long enough that a run serves before it is over, on a busy machine.
SECONDS = "25"


def until(done: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 120
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.1)


def waiting(host: Host) -> bool:
    return any((host.state / "run").glob("tng/*.confirm"))


def in_a_terminal(host: Host, port: int) -> Process:
    """``apply --confirm`` in a terminal that is gone when this process is killed."""
    command = shlex.join([TNG, "apply", str(document(host, port)), "--workers", "1", "--confirm", SECONDS])
    run = host.start("script", "-qefc", command, "/dev/null")
    run.wait_for(r"\bevent=serving\b", 60)
    return run


def test_what_is_confirmed_stays_and_nobody_waits_any_more(host: Host) -> None:
    apply(host, 8001, "--confirm", "600")
    assert waiting(host)
    assert host.run(TNG, "confirm").stdout == "confirmed: inet tng\n"
    until(lambda: not waiting(host), "somebody still waits")
    assert serves(host) == {"8001"}
    done = host.run(TNG, "confirm", check=False)
    assert done.returncode == 3
    assert "nothing of inet tng waits" in done.stderr


def test_where_nothing_ran_nothing_runs_again(host: Host) -> None:
    run = apply(host, 8001, "--confirm", SECONDS)
    assert run.wait(90) == 0, run.output()
    until(lambda: tables(host) == set() and os.listdir(host.state / "run") == [], "something is left")
    assert "was not confirmed in time; what was before returns: open" in run.output()


def test_the_run_of_before_returns_although_the_terminal_is_gone(host: Host) -> None:
    apply(host, 8001)
    before = rules(host)
    session = in_a_terminal(host, 8002)
    assert serves(host) == {"8002"}
    session.popen.kill()
    until(lambda: serves(host) == {"8001"}, "the document of before does not return")
    assert rules(host) == before
    assert [Path(name).stem for name in kept(host)] == ["8001", "8002"]
    until(lambda: not waiting(host), "somebody still waits")


@pytest.mark.parametrize("was", ["serving", "open"])
def test_a_run_that_does_not_serve_in_time_is_ended_and_cannot_serve_later(host: Host, was: str) -> None:
    if was == "serving":
        apply(host, 8001)
    listing = rules(host)
    agent = host.state / "agent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(agent))
        silent.listen()
        entry = {"netfilter": {"capture_dst": {"port": 8002}}, "attest": {"aa_addr": f"unix://{agent}"}}
        config = tunnel.write_config(host.state / "egress.json", {"add_egress": [entry]})
        run = host.start(TNG, "apply", str(config), "--workers", "1", "--confirm", "1")
        assert run.wait(90) == 0, run.output()
        until(lambda: "it was not confirmed in time" in run.output(), "nobody takes it back")
    until(lambda: rules(host) == listing and not waiting(host), "what was before does not return")
    assert serves(host) == ({"8001"} if was == "serving" else set())
    until(lambda: bool(os.listdir(host.state / "run")) == (was == "serving"), "something is left")


def test_a_run_that_ends_before_it_was_confirmed_is_taken_back_at_once(host: Host) -> None:
    apply(host, 8001)
    second = apply(host, 8002, "--confirm", "600")
    second.popen.kill()
    until(lambda: serves(host) == {"8001"}, "the document of before does not return")


def test_rules_that_refused_without_a_run_refuse_again(host: Host) -> None:
    first = apply(host, 8001)
    before = rules(host)
    assert first.stop() == 0
    second = apply(host, 8002, "--confirm", "600")
    assert serves(host) == {"8002"}
    second.popen.kill()
    second.popen.wait(60)
    until(lambda: serves(host) == {"8001"}, "the rules of before do not return")
    until(lambda: not os.listdir(host.state / "run"), "somebody still waits")
    table = host.run("nft", "list", "table", "inet", "tng").stdout
    assert "table inet tng {" in before
    assert "redirect to :15001" in table


def test_while_something_waits_nothing_else_is_applied_and_a_rollback_takes_it_back(host: Host) -> None:
    apply(host, 8001)
    apply(host, 8002, "--confirm", "600")
    done = host.run(TNG, "apply", str(document(host, 8003)), check=False)
    assert done.returncode == 3
    assert "waits to be confirmed" in done.stderr
    host.start(TNG, "rollback").wait_for(r"\bevent=serving\b", 60)
    assert serves(host) == {"8001"}
    until(lambda: not waiting(host), "somebody still waits")


def test_what_could_not_be_brought_back_is_not_tried(host: Host) -> None:
    directory = host.state / "compiled"
    host.run(TNG, "compile", str(document(host, 8001)), "-o", str(directory))
    host.start(f"{TNG}-runtime", "run", str(directory)).wait_for(r"\bevent=serving\b", 60)
    done = host.run(TNG, "apply", str(document(host, 8002)), "--confirm", "600", check=False)
    assert done.returncode == 3
    assert "its document is not kept" in done.stderr
    done = host.run(TNG, "rollback", check=False)
    assert done.returncode == 3
    assert "was not started by `tng apply`" in done.stderr
    assert serves(host) == {"8001"}


def rules(host: Host) -> str:
    return re.sub(r"packets \d+ bytes \d+|progname \S+|# .*", "", host.run("nft", "list", "ruleset").stdout)
