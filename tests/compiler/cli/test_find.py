"""``tng find`` in CI and by hand: exit statuses, texts, carets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from syrupy.assertion import SnapshotAssertion
from typer.testing import CliRunner

from compiler.documents import VERIFY, text
from tng_compiler.cli.app import app
from tng_compiler.cli.exits import Exit

DOCUMENT = {
    "add_ingress": [
        {"netfilter": {"capture_dst": {"host": "10.0.0.0/8"}, "nocapture_cgroup": ["/backup"]}, "verify": VERIFY},
        {"netfilter": {"capture_dst": [{"ipset": "office", "port": 443}]}, "verify": VERIFY},
    ]
}


@pytest.fixture
def document(tmp_path: Path) -> str:
    """A document in a file."""
    path = tmp_path / "c.json"
    path.write_bytes(text(DOCUMENT))
    return str(path)


def tng(*arguments: str) -> Result:
    """Run ``tng``."""
    return CliRunner().invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("witness", ["passed and tcp and to 10.0.0.0/8"]),
        ("none", ["passed and tcp and ingress and to 10.0.0.0/8 and not cgroup /backup"]),
        ("all", ["captured", "--all"]),
        ("established", ["established and refused and runtime down and port 443"]),
    ],
)
def test_the_answers(document: str, golden: SnapshotAssertion, name: str, arguments: list[str]) -> None:
    result = tng("find", document, *arguments)
    assert result.exit_code == Exit.CLEAN
    assert result.stdout == golden(name=f"find/{name}.txt")


def test_what_is_expected_decides_the_exit_status(document: str) -> None:
    assert tng("find", document, "captured", "--expect", "some").exit_code == Exit.CLEAN
    assert tng("find", document, "captured", "--expect", "none").exit_code == Exit.FINDINGS
    assert tng("find", document, "captured and port 443 and udp", "--expect", "some").exit_code == Exit.FINDINGS
    assert tng("find", document, "captured and udp", "--expect", "none").exit_code == Exit.CLEAN


def test_a_pattern_that_cannot_be_read_has_a_caret(document: str, golden: SnapshotAssertion) -> None:
    result = tng("find", document, "captured and prot 443")
    assert (result.exit_code, result.stdout) == (Exit.USAGE, "")
    assert result.stderr == golden(name="find/misspelt.txt")


def test_programs_get_json(document: str) -> None:
    found = json.loads(tng("find", document, "captured", "--format", "json", "--all").stdout)
    assert found["found"] == len(found["regions"]) > 1
    assert found["regions"][0]["witness"].startswith("ingress tcp to 10.0.0.1:")


def test_a_document_with_faults_is_not_asked(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"{}")
    result = tng("find", str(tmp_path / "c.json"), "captured")
    assert (result.exit_code, result.stdout) == (Exit.FINDINGS, "")
