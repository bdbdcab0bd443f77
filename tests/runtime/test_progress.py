"""What an instance says at a terminal while it waits: for its agent at the start, for its connections at the end."""

from __future__ import annotations

import os
import shlex
import signal
import socket

import pytest

from runtime.test_takeover import holder
from runtime.tunnels import CAPTURE, RUNTIME, Tunnel, compiled, ends
from tng_demo.lab import Lab
from tng_demo.process import PATIENCE

pytestmark = pytest.mark.netns

__all__ = ["ends"]


def test_an_agent_that_does_not_answer_is_waited_for_in_words_and_in_a_pipe_without(hosts: Lab) -> None:
    host = hosts["client"]
    directory = compiled(
        host, {"add_ingress": [{"netfilter": CAPTURE, "attest": {"aa_addr": "unix:///run/silent.sock"}}]}
    )
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(host.state / "run" / "silent.sock"))
        agent.listen()
        run = host.start("script", "-qefc", shlex.join([RUNTIME, "run", str(directory)]), "/dev/null")
        run.wait_for(r"^tng-runtime: starting: .*/add_ingress/0 waits for its first certificate", PATIENCE)


def test_connections_that_are_waited_for_are_counted(ends: Tunnel) -> None:
    server = ends.start("server")
    command = shlex.join([RUNTIME, "run", str(ends.client), "--workers", "1", "--drain", "60"])
    run = ends.lab["client"].start("script", "-qefc", command, "/dev/null")
    run.wait_for(r"\bevent=serving\b", PATIENCE)
    near, far = ends.connect()
    with near, far:
        os.kill(holder(ends.lab["client"]), signal.SIGTERM)
        run.wait_for(r"^tng-runtime: draining: 1 connection is open, \d+ s left; one more signal", PATIENCE)
    run.wait(PATIENCE)
    server.stop()
    assert "tng-runtime: " not in server.output()
