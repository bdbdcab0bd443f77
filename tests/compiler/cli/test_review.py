"""The README's "Review a change": every output that it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from tng_compiler.cli.app import app

VERIFY = {"as_addr": "https://as.example/", "policy_ids": ["default"]}
BEFORE = {"add_ingress": [{"netfilter": {"capture_dst": {"host": "10.0.0.0/8", "port": 443}}, "verify": VERIFY}]}
AFTER = {
    "add_ingress": [
        {
            "netfilter": {
                "capture_dst": [{"host": "10.0.0.0/9", "port": 443}, {"host": "10.0.0.0/9", "port": 5432}],
                "forwarded": "bypass",
                "udp": "bypass",
            },
            "verify": VERIFY,
        }
    ]
}
COMMANDS = {
    "diff": ["diff", "before.json", "after.json", "--fail-on", "unprotected"],
    "markdown": ["diff", "before.json", "after.json", "--format", "markdown"],
    "find": ["find", "after.json", "passed and tcp and ingress and to 10.0.0.0/8 and port 443", "--expect", "none"],
    "proof": ["find", "before.json", "passed and tcp and ingress and to 10.0.0.0/8 and port 443", "--expect", "none"],
}


@pytest.mark.parametrize("name", list(COMMANDS))
def test_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: SnapshotAssertion, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for side, document in (("before", BEFORE), ("after", AFTER)):
        Path(f"{side}.json").write_text(json.dumps(document))
    result = CliRunner().invoke(app, COMMANDS[name])
    shown = f"{result.output}exit status {result.exit_code}\n"
    assert shown == golden(name=f"review/{name}.txt")


@pytest.mark.parametrize("name", ["diff", "find", "proof"])
def test_the_readme_shows_it_whole(name: str) -> None:
    root = Path(__file__).parents[3]
    shown, _, _ = (root / f"snapshots/review/{name}.txt").read_text("utf-8").rpartition("exit status")
    command = f"$ tng {' '.join(f'{chr(34)}{word}{chr(34)}' if ' ' in word else word for word in COMMANDS[name])}\n"
    assert command + shown.rstrip("\n") in (root / "README.md").read_text("utf-8")
