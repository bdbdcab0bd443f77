"""The command ``tng explain``: its exit statuses, which scripts branch on, and where it writes what."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TNG = str(Path(sys.executable).parent / "tng")


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([TNG, "explain", *arguments], cwd=ROOT, input=stdin, capture_output=True, timeout=100)


STATUSES = {
    "ingress to 10.1.2.3:8080": (0, b"CAPTURED by /add_ingress/0"),
    "ingress to 10.1.2.3:8081": (4, b"PASSED in plaintext"),
    "forwarded to 10.1.2.3:8080": (5, b"REFUSED for /add_ingress/0"),
    "to 10.1.2.3:8080": (6, b"depends on the direction"),
}


@pytest.mark.parametrize("flow", STATUSES)
def test_the_status_is_the_fate(flow: str) -> None:
    done = run("examples/ingress_netfilter.json", flow)
    status, words = STATUSES[flow]
    assert (done.returncode, done.stderr) == (status, b"")
    assert done.stdout.startswith(words)


def test_programs_get_json() -> None:
    done = run("examples/ingress_netfilter.json", "to 10.1.2.3:8080", "--format", "json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["fate"], document["status"]) == (6, "depends", 6)
    assert document["cases"][0]["when"] == {"direction": "this host sends it to another"}


def test_a_flow_that_is_none_is_shown_with_a_caret() -> None:
    done = run("examples/ingress_netfilter.json", "ingres to 10.1.2.3")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"1 | ingres to 10.1.2.3\n  | ^^^^^^\n" in done.stderr


def test_a_document_with_errors_is_reported_instead() -> None:
    done = run("-", "to 10.1.2.3:443", stdin=b"{")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"error[TNG" in done.stderr


def test_the_statuses_are_in_the_help() -> None:
    assert b"0 captured, 4 passed in plaintext, 5 refused, 6 depends" in b" ".join(run("--help").stdout.split())
