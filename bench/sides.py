"""One tunnel between two fresh hosts, either all ours or all the peer's, with the same servers behind it.

Hosts are new in every round: thousands of short connections leave ports in TIME-WAIT behind, which would slow whoever
comes second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tng_demo import tunnel
from tng_demo.lab import Host, lab
from tng_demo.process import Process
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_service import SampleService
from tng_demo.web import serve

Program = Literal["ours", "rust"]
Trust = Literal["no_ra", "attested"]

WEB_PORT = 8080
IPERF_PORT = 8081
_SERVICE = ("127.0.0.1", 9081)

_TRUST: Mapping[Trust, tuple[Mapping[str, Any], Mapping[str, Any]]] = {
    "no_ra": ({"no_ra": True}, {"no_ra": True}),
    "attested": (
        {"verify": {"as_addr": f"http://{_SERVICE[0]}:{_SERVICE[1]}/", "policy_ids": ["default"]}},
        {"attest": {"aa_addr": "unix:///run/aa.sock"}},
    ),
}


@dataclass(frozen=True, slots=True)
class Side:
    """A serving tunnel from ``client`` to ``server``."""

    client: Host
    server: Host
    ingress: Process
    egress: Process


@contextlib.contextmanager
def tunnelled(program: Program, trust: Trust, peer: Path, directory: Path, ports: Sequence[int] = ()) -> Iterator[Side]:
    """Both gateways up, nginx and iperf3 behind them, ``ports`` captured too; everything is gone afterwards."""
    capture = {"capture_dst": {"port": WEB_PORT, "port_end": max((IPERF_PORT, *ports))}}
    ingress, egress = _TRUST[trust]
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        client, server = hosts["client"], hosts["server"]
        if trust == "attested":
            stack.enter_context(SampleAgent(server.state / "run" / "aa.sock"))
            with client.inside():
                stack.enter_context(SampleService(_SERVICE))
        (serve(server, directory / "web", WEB_PORT).www / "index.html").write_text("hello\n", encoding="utf-8")
        server.start("iperf3", "-s", "-p", str(IPERF_PORT))
        server.wait_for_port(IPERF_PORT)
        programs = [
            _start(
                server, program, peer, directory / "server.json", {"add_egress": [{"netfilter": capture, **egress}]}
            ),
            _start(
                client, program, peer, directory / "client.json", {"add_ingress": [{"netfilter": capture, **ingress}]}
            ),
        ]
        client.run("curl", "-sS", "--fail", "--max-time", "20", f"http://{server.ipv4}:{WEB_PORT}/")
        yield Side(client, server, ingress=programs[1], egress=programs[0])


def _start(host: Host, program: Program, peer: Path, path: Path, config: Mapping[str, Any]) -> Process:
    tunnel.write_config(path, config)
    if program == "ours":
        return tunnel.apply(host, path)
    process = host.start(str(peer), "launch", "-c", str(path))
    process.wait_for("All services are ready")
    return process
