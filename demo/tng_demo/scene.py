"""The netfilter scenario's two hosts and the programs on them: stock nginx and curl, the sample agent and service."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tng_demo.capture import Segment, capture
from tng_demo.lab import Host, Lab
from tng_demo.process import Process
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_service import SampleService, Settings
from tng_demo.web import Web, serve

EXAMPLES = Path(__file__).parents[2] / "examples"
CLIENT_CONFIG = EXAMPLES / "ingress_netfilter.json"
SERVER_CONFIG = EXAMPLES / "egress_netfilter.json"

AGENT_SOCKET = "/run/confidential-containers/attestation-agent/attestation-agent.sock"
_SERVICE = ("127.0.0.1", 8081)
SERVICE = f"{_SERVICE[0]}:{_SERVICE[1]}"
PORT = 8080
PAGE = "Hello from nginx: nobody on the wire may read this sentence.\n"

# Seconds that a token lives: a verdict never outlives its token, so that a changed mind of the service shows soon.
TOKEN_LIFE = 5


@dataclass(frozen=True, slots=True)
class Scene:
    """Both hosts with everything running on them but the tunnel."""

    lab: Lab
    web: Web

    @property
    def client(self) -> Host:
        return self.lab["client"]

    @property
    def server(self) -> Host:
        return self.lab["server"]

    def urls(self) -> dict[str, str]:
        """What the client calls, by family."""
        return {"IPv4": f"http://{self.server.ipv4}:{PORT}/", "IPv6": f"http://[{self.server.ipv6}]:{PORT}/"}

    def curl(self, url: str) -> subprocess.CompletedProcess[str]:
        """Stock curl on the client."""
        return self.client.run("curl", "-sS", "--max-time", "10", url, check=False)

    def affirm(self, affirming: bool) -> None:
        """Change the mind of the sample service."""
        change = json.dumps({"affirming": affirming})
        self.client.run("curl", "-sS", "--fail", "--json", change, f"http://{SERVICE}/sample/settings")

    @contextmanager
    def wire(self) -> Iterator[Wire]:
        """Record the cable at the client's end."""
        with capture(self.client, self.server, self.client.state / "wire.pcap") as running:
            wire = Wire([])
            yield wire
            wire.segments.extend(running.stop())


@dataclass(frozen=True, slots=True)
class Wire:
    """What was on the cable; filled when the recording has ended."""

    segments: list[Segment]


def set_up(lab: Lab, *, start: Callable[..., Process] = Host.start, lifetime: int = TOKEN_LIFE) -> Scene:
    """Start the programs of both hosts and wait until they answer.

    ``start`` starts agent and service, whose tokens live ``lifetime`` seconds.
    """
    client, server = lab["client"], lab["server"]
    service = _sample("sample_service", "--listen", SERVICE, "--lifetime", str(lifetime))
    agent = _sample("sample_agent", "--socket", AGENT_SOCKET)
    for sample in (start(client, *service), start(server, *agent)):
        sample.wait_for("listening on")
    return served(lab)


@contextmanager
def samples(lab: Lab) -> Iterator[tuple[SampleService, SampleAgent]]:
    """Service and agent as threads of this process, which cost no interpreters."""
    client, server = lab["client"], lab["server"]
    with client.inside():
        service = SampleService(_SERVICE, settings=Settings(lifetime=TOKEN_LIFE)).start()
    with closing(service), SampleAgent(server.state / AGENT_SOCKET.lstrip("/")) as agent:
        yield service, agent


@contextmanager
def inside_of_us(lab: Lab) -> Iterator[Scene]:
    """As ``set_up``, with ``samples``."""
    with samples(lab):
        yield served(lab)


def served(lab: Lab) -> Scene:
    """Start the web server alone."""
    server = lab["server"]
    web = serve(server, server.state / "web", PORT)
    (web.www / "index.html").write_text(PAGE, encoding="utf-8")
    return Scene(lab, web)


def _sample(module: str, *argv: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"tng_demo.{module}", *argv)
