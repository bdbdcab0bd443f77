"""The HTTP proxy against the Rust TNG's, both ways, by the documents of its manual's scenarios as they stand there.

Use case 1 (docs/scenarios/02-http-proxy-single): an `http_proxy` that verifies, an egress that captures and attests.
2 (01-netfilter-single): captures on both sides. 3 (04-mesh-two-way-ra): both sides attest and verify. Only the
addresses of the services are those of the test.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from interop.ends import Program
from tng_demo import tunnel
from tng_demo.lab import Host, Lab, lab
from tng_demo.process import Process
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_authority import create_authority
from tng_demo.sample_service import SampleService
from tng_demo.web import serve

pytestmark = [pytest.mark.interop, pytest.mark.netns]

PORT, PROXY = 8080, 41000
AGENT = "/run/confidential-containers/attestation-agent/attestation-agent.sock"
SERVICE = ("127.0.0.1", 9081)
PAGE = "the page\n"
VERIFY = {"verify": {"as_addr": f"http://{SERVICE[0]}:{SERVICE[1]}/", "policy_ids": ["default"]}}
ATTEST = {"attest": {"aa_addr": f"unix://{AGENT}"}}
CAPTURE = {"netfilter": {"capture_dst": {"port": PORT}}}
ARRIVING = {"netfilter": {"capture_dst": {"port": PORT}, "capture_local_traffic": True}}
HTTP_PROXY = {
    "http_proxy": {"proxy_listen": {"host": "0.0.0.0", "port": PROXY}, "dst_filters": {"domain": "*", "port": PORT}}
}
CASES: dict[int, tuple[dict[str, Any], dict[str, Any]]] = {
    1: ({**HTTP_PROXY, **VERIFY}, {**ARRIVING, **ATTEST}),
    2: ({**CAPTURE, **VERIFY}, {**ARRIVING, **ATTEST}),
    3: ({**CAPTURE, **ATTEST, **VERIFY}, {**ARRIVING, **ATTEST, **VERIFY}),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """Both hosts with agents, services and nginx, and no tunnel."""

    lab: Lab
    peer: Path
    directory: Path

    def _start(self, host: Host, program: Program, config: Path) -> Process:
        """Start it, as the only one that knows ``server.test``."""
        names = self.directory / "hosts"
        names.write_text(f"127.0.0.1 localhost\n{self.lab['server'].ipv4} server.test\n", "ascii")
        argv = [tunnel.TNG, "apply"] if program == "ours" else [str(self.peer), "launch", "-c"]
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return host.start("sh", "-c", script, str(names), *argv, str(config))

    @contextlib.contextmanager
    def tunnel(self, case: int, ingress: Program, egress: Program) -> Iterator[Host]:
        """The client's host, while both ends of a use case serve."""
        started = []
        for name, program, role in (("server", egress, "egress"), ("client", ingress, "ingress")):
            document = {f"add_{role}": [CASES[case][role == "egress"]]}
            config = tunnel.write_config(self.directory / f"{name}.json", document)
            started.append((self.lab[name], program, self._start(self.lab[name], program, config)))
        try:
            for _, program, process in started:
                process.wait_for(r"\bevent=serving\b" if program == "ours" else "All services are ready")
            yield self.lab["client"]
        finally:
            for host, program, process in started:
                process.stop()
                if program == "ours":
                    host.run(tunnel.TNG, "down", check=False)


@pytest.fixture(scope="module")
def scene(peer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("scenarios")
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        for host in hosts.hosts.values():
            path = host.state / AGENT.removeprefix("/")
            path.parent.mkdir(parents=True)
            stack.enter_context(SampleAgent(path))
            with host.inside():
                stack.enter_context(SampleService(SERVICE, signing=create_authority()))
        web = serve(hosts["server"], directory / "web", PORT)
        (web.www / "index.html").write_text(PAGE, encoding="utf-8")
        yield Scene(hosts, peer, directory)


@pytest.mark.parametrize(("ingress", "egress"), [("ours", "rust"), ("rust", "ours")])
def test_stock_curl_through_the_proxy_of_one_and_the_egress_of_the_other(
    scene: Scene, ingress: Program, egress: Program
) -> None:
    with scene.tunnel(1, ingress, egress) as client:
        for form in ((), ("--proxytunnel",)):
            # By name: its `domain: "*"` takes no addresses, which leave in plaintext.
            argv = ["curl", "-sS", "--max-time", "60", "-x", f"http://127.0.0.1:{PROXY}", *form]
            argv.append(f"http://server.test:{PORT}/")
            done = client.run(*argv, check=False)
            assert done.stdout == PAGE, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_the_scenarios_of_its_manual_with_ours_on_both_sides(scene: Scene, case: int) -> None:
    way = ("-x", f"http://127.0.0.1:{PROXY}") if case == 1 else ()
    with scene.tunnel(case, "ours", "ours") as client:
        done = client.run("curl", "-sS", "--max-time", "60", *way, f"http://{scene.lab['server'].ipv4}:{PORT}/")
        assert done.stdout == PAGE
