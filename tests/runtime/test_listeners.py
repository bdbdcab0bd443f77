"""A service that listens outside of the cgroup of its egress: the start says so, and of the one inside nothing."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from packets.cgroups import cgroups, socket_in, with_cgroups
from tng_demo import tunnel
from tng_demo.lab import Lab

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]

RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")
WEB = f"tng-service-{os.getpid()}"
CAPTURE = {"capture_dst": [{"port": 8080}, {"host": "10.77.0.0/16", "port": 8081}], "capture_cgroup": [WEB]}


def test_a_service_that_listens_in_another_cgroup_is_told_at_the_start(hosts: Lab) -> None:
    server = hosts["server"]
    config = tunnel.write_config(server.state / "config.json", {"add_egress": [{"netfilter": CAPTURE, "no_ra": True}]})
    made = str(tunnel.compile_into(config, server.state / "compiled"))
    with (
        cgroups(WEB),
        server.inside(),
        socket.create_server(("0.0.0.0", 8081)),
        socket_in(server, WEB, socket.AF_INET) as inside,
    ):
        inside.bind(("0.0.0.0", 8080))
        inside.listen()
        runtime = server.start(*with_cgroups([RUNTIME, "run", made]))
        runtime.wait_for(r"\bevent=serving\b", 60)
        runtime.wait_for(r"level=warning event=listener_in_other_cgroup entry=/add_egress/0 port=8081", 60)
        assert "port=8080" not in runtime.output()
        runtime.kill()
