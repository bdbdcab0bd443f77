"""The two ends of a tunnel, each either our program or the Rust TNG, from one table of trust.

A row is what both configurations say about trust; everything else is the same in all rows. Services and agents run on
both hosts, so that any side may attest and any side may verify.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tng_demo import tunnel
from tng_demo.lab import Host, Lab, lab
from tng_demo.process import Process
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_authority import create_authority
from tng_demo.sample_service import SampleService
from tng_demo.web import Web, serve

Program = Literal["ours", "rust"]
Trust = Mapping[str, Any]

FIRST_PORT, LAST_PORT = 8080, 8089
ECHO_PORT = 8085

SERVICE_ADDRESS = ("127.0.0.1", 9081)
_SERVICE = "http://127.0.0.1:9081/"
_AGENT = "/run/aa.sock"

NO_RA: Trust = {"no_ra": True}
VERIFY: Trust = {"verify": {"as_addr": _SERVICE, "policy_ids": ["default"]}}
ATTEST: Trust = {"attest": {"aa_addr": f"unix://{_AGENT}"}}
MUTUAL: Trust = {**VERIFY, **ATTEST}
PASSPORT_VERIFY: Trust = {"verify": {"model": "passport", "as_addr": _SERVICE, "policy_ids": ["default"]}}
PASSPORT_ATTEST: Trust = {
    "attest": {"model": "passport", "aa_addr": f"unix://{_AGENT}", "as_addr": _SERVICE, "policy_ids": ["default"]}
}
PASSPORT_MUTUAL: Trust = {**PASSPORT_VERIFY, **PASSPORT_ATTEST}


@dataclass(frozen=True, slots=True)
class Row:
    """One relation of trust. ``refused_by`` is the end that must refuse it, ``affirming`` what both services say."""

    name: str
    ingress: Trust
    egress: Trust
    affirming: bool = True
    refused_by: Literal["ingress", "egress"] | None = None


@dataclass(frozen=True, slots=True)
class Ends:
    """A running tunnel, ``client`` to ``server``, with nginx behind it."""

    lab: Lab
    web: Web
    ingress: Process
    egress: Process
    services: Mapping[str, SampleService] = field(repr=False)

    @property
    def client(self) -> Host:
        return self.lab["client"]

    @property
    def server(self) -> Host:
        return self.lab["server"]


@contextlib.contextmanager
def connected(row: Row, ingress: Program, egress: Program, peer: Path, directory: Path) -> Iterator[Ends]:
    """Both ends up and serving."""
    capture = {"capture_dst": {"port": FIRST_PORT, "port_end": LAST_PORT}}
    client_config = {"add_ingress": [{"netfilter": capture, **row.ingress}]}
    server_config = {"add_egress": [{"netfilter": {**capture, "capture_local_traffic": True}, **row.egress}]}
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        signing = create_authority()
        services = {}
        for host in hosts.hosts.values():
            stack.enter_context(SampleAgent(host.state / "run" / Path(_AGENT).name))
            with host.inside():
                services[host.name] = stack.enter_context(SampleService(SERVICE_ADDRESS, signing=signing))
            services[host.name].change(affirming=row.affirming)
        web = serve(hosts["server"], directory / "web", FIRST_PORT)
        ends = [
            _start(hosts["server"], egress, peer, tunnel.write_config(directory / "server.json", server_config)),
            _start(hosts["client"], ingress, peer, tunnel.write_config(directory / "client.json", client_config)),
        ]
        yield Ends(hosts, web, ends[1], ends[0], services)


def _start(host: Host, program: Program, peer: Path, config: Path) -> Process:
    if program == "ours":
        return tunnel.apply(host, config)
    process = host.start(str(peer), "launch", "-c", str(config))
    process.wait_for("All services are ready")
    return process
