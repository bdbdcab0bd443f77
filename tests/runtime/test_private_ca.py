"""An attestation service behind a private CA, met by whole processes: the file is root's alone, the judge is not."""

from __future__ import annotations

import json
import sys

import pytest

from tng_demo import scene, tunnel
from tng_demo.lab import Lab
from tng_demo.sample_tls import CA_FILE

pytestmark = pytest.mark.netns


def test_a_judge_asks_a_service_behind_a_private_ca_and_says_what_it_lacks_without_it(hosts: Lab) -> None:
    host = hosts["server"]
    ca = host.state / "tls" / CA_FILE
    scene_service = ("-m", "tng_demo.sample_service", "--listen", scene.SERVICE, "--tls", str(ca.parent))
    host.start(sys.executable, *scene_service).wait_for("listening on https")
    agent = ("-m", "tng_demo.sample_agent", "--socket", scene.AGENT_SOCKET)
    host.start(sys.executable, *agent).wait_for("listening on")
    assert ca.stat().st_mode & 0o777 == 0o600
    service = {"as_addr": f"https://{scene.SERVICE}/", "policy_ids": ["default"]}
    attest = {"model": "passport", "aa_addr": f"unix://{scene.AGENT_SOCKET}", **service}

    def document(**named: object) -> object:
        entry = {"netfilter": {"capture_dst": {"port": 8080}}, "attest": {**attest, **named}}
        return {"add_egress": [{**entry, "verify": {**service, **named}}]}

    config = tunnel.write_config(host.state / "config.json", document())
    refused = host.run(tunnel.TNG, "apply", str(config), check=False)
    assert refused.returncode == 3
    assert "warning[TNG633]" in refused.stderr
    assert "RA-SERVICE-CA" in refused.stderr
    assert "Name a private CA in `as_ca_paths`" in refused.stderr
    tunnel.write_config(config, document(as_ca_paths=[str(ca)]))
    found = json.loads(host.run(tunnel.TNG, "doctor", str(config), "--format", "json").stdout)["diagnostics"]
    assert [item["code"] for item in found if item["code"].startswith("TNG6")] == []
    run = tunnel.apply(host, config)
    assert "event=certificate_ready" in run.output()
    assert "RA-SERVICE" not in run.output()
