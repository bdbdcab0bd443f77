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
# Captured, and whoever measures listens there; and one that is not captured.
HELD_PORT = 8082
DIRECT_PORT = 8083
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
def tunnelled(
    program: Program,
    trust: Trust,
    peer: Path,
    directory: Path,
    *,
    workers: int | None = None,
    ingress_in: Sequence[str] = (),
    ports: Sequence[int] = (),
    doors: Sequence[Mapping[str, Any]] = (),
    arriving: Mapping[str, Any] | None = None,
) -> Iterator[Side]:
    """Both gateways up, nginx and iperf3 behind them; everything is gone afterwards.

    ``workers`` are those of each of our gateways; ``ingress_in`` is a command that runs the ingress, such as in a
    cgroup. ``ports`` are captured too. ``doors`` are what the ingress has instead of a capture; ``arriving`` is what
    the egress's capture says besides.
    """
    capture = {"capture_dst": {"port": WEB_PORT, "port_end": max((HELD_PORT, *ports))}}
    ingress, egress = _TRUST[trust]
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        client, server = hosts["client"], hosts["server"]
        if trust == "attested":
            stack.enter_context(SampleAgent(server.state / "run" / "aa.sock"))
            with client.inside():
                stack.enter_context(SampleService(_SERVICE))
        for name, port in (("web", WEB_PORT), ("direct", DIRECT_PORT)):
            (serve(server, directory / name, port).www / "index.html").write_text("hello\n", encoding="utf-8")
        server.start("iperf3", "-s", "-p", str(IPERF_PORT))
        server.wait_for_port(IPERF_PORT)
        command = _Command(program, peer, workers)
        documents = {
            "egress": {"add_egress": [{"netfilter": {**capture, **(arriving or {})}, **egress}]},
            "ingress": {"add_ingress": [{**mode, **ingress} for mode in doors or [{"netfilter": capture}]]},
        }
        far = command.start(server, directory / "server.json", documents["egress"])
        near = command.start(client, directory / "client.json", documents["ingress"], ingress_in)
        if not doors:
            client.run("curl", "-sS", "--fail", "--max-time", "60", f"http://{server.ipv4}:{WEB_PORT}/")
        yield Side(client, server, ingress=near, egress=far)


@dataclass(frozen=True, slots=True)
class _Command:
    program: Program
    peer: Path
    workers: int | None

    def start(self, host: Host, path: Path, config: Mapping[str, Any], wrap: Sequence[str] = ()) -> Process:
        tunnel.write_config(path, config)
        workers = [] if self.workers is None else ["--", "--workers", str(self.workers)]
        ours = [tunnel.TNG, "apply", str(path), *workers]
        process = host.start(*wrap, *(ours if self.program == "ours" else [str(self.peer), "launch", "-c", str(path)]))
        process.wait_for(r"\bevent=serving\b" if self.program == "ours" else "All services are ready", deadline=90)
        return process
