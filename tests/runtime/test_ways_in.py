"""The four documents of the README, run as they stand there: captures as root, doors by a user without privileges."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from runtime.plain import reads_checkout
from runtime.test_plain_user import TNG, as_user
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.lab import Lab
from tng_demo.scene import PAGE, PORT, SERVER_CONFIG

pytestmark = pytest.mark.netns

README = Path(__file__).parents[2] / "README.md"
# What a program does to come in by each.
WAYS = {
    "netfilter": ["--resolve", f"server.example:{PORT}:{{server}}", f"http://server.example:{PORT}/"],
    "mapping": ["http://127.0.0.1:10001/"],
    "http_proxy": ["-x", "http://127.0.0.1:41000", f"http://server.example:{PORT}/"],
    "socks5": ["--socks5-hostname", "127.0.0.1:1080", f"http://server.example:{PORT}/"],
}


def documents() -> dict[str, str]:
    """Those of the section, by their way in."""
    section = README.read_text("utf-8").partition("### Which of the four ways in fits me?")[2].partition("\n## ")[0]
    found = re.findall(r"```json\n(.*?)```", section, re.DOTALL)
    assert all(text.count("\n") == 2 for text in found), "of two lines"
    return {next(iter(json.loads(text)["add_ingress"][0])): text for text in found}


@reads_checkout
def test_each_document_of_the_readme_carries_a_page(hosts: Lab) -> None:
    scene = scenes.set_up(hosts)
    client, server = scene.client, scene.server
    tunnel.serve(server, SERVER_CONFIG)
    (client.state / "hosts").write_text(f"127.0.0.1 localhost\n{server.ipv4} server.example\n", "ascii")
    named = ["sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', str(client.state / "hosts")]
    shown = documents()
    assert list(shown) == list(WAYS)
    configs = {way: client.state / f"{way}.json" for way in shown}
    for way, config in configs.items():
        config.write_text(shown[way], "utf-8")
        config.chmod(0o644)

    def fetches(way: str) -> None:
        arguments = [each.format(server=server.ipv4) for each in WAYS[way]]
        done = client.run("curl", "-sS", "--max-time", "60", *arguments, check=False)
        assert done.stdout == PAGE, f"{way}: {done.stderr}"

    run = tunnel.apply(client, configs["netfilter"])
    fetches("netfilter")
    run.stop()
    client.run(TNG, "down")
    doors = [way for way in shown if way != "netfilter"]
    runs = [client.start(*named, *as_user(client, TNG, "apply", "--instance", way, str(configs[way]))) for way in doors]
    for way, run in zip(doors, runs, strict=True):
        run.wait_for(r"\bevent=serving\b")
        fetches(way)
