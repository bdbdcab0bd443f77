"""`scripts/demo` as a program: every claim of the tour holds, and its hosts stay or go as they should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tng_demo import lab as labs

pytestmark = [pytest.mark.netns, pytest.mark.timeout(240)]

DEMO = str(Path(__file__).parents[2] / "scripts" / "demo")


def demo(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [DEMO, *argv], capture_output=True, text=True, check=False, timeout=200, stdin=subprocess.DEVNULL
    )


def test_everything_holds_and_is_readable_at_100_columns_and_the_hosts_can_be_kept() -> None:
    if (labs.STATE / "demo").exists():
        pytest.skip("a demo is being kept on this machine")
    try:
        done = demo("--keep")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "[FAIL]" not in done.stdout
        assert [line for line in done.stdout.splitlines() if len(line) > 100] == []
        assert demo("--on", "client", "curl", "-sS", "http://10.77.0.2:8080/").stdout.startswith("Hello from nginx")
        tables = demo("--on", "server", "nft", "list", "tables").stdout.splitlines()
        assert sorted(tables) == ["table inet tng", "table inet tng_guard"]
        assert "is there already" in demo("--keep").stderr
    finally:
        demo("--remove")
    assert not (labs.STATE / "demo").exists()
    assert not list(Path("/run/netns").glob("tng-demo-*"))
    assert demo("--on", "client", "true").returncode != 0


def test_a_wrong_option_is_a_usage_error() -> None:
    assert demo("--bogus").returncode == 2
