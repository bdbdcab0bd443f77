"""The real judges: nft and iptables load every golden, twice alike, and its removal leaves nothing."""

from __future__ import annotations

import fcntl
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from compiler.conftest import SNAPSHOTS
from packets.cgroups import cgroups, with_cgroups

pytestmark = pytest.mark.netns

GUARDS = sorted((SNAPSHOTS / "emit").glob("*.guard.nft"))
RULESETS = sorted(set((SNAPSHOTS / "emit").glob("*.nft")) - set(GUARDS))
SCRIPTS = sorted((SNAPSHOTS / "emit").glob("*.rules"))

DOORS_ONLY = ("egress_mapping", "ingress_http_proxy", "ingress_mapping", "ingress_socks5")


def captures(path: Path) -> bool:
    """Whether the example of a golden captures anything."""
    return path.name.partition(".")[0] not in DOORS_ONLY


NFT = """set -e
nft -c -f "$0"
nft -f "$0"; nft list ruleset; echo ==; nft -f "$0"; nft list ruleset; echo ==
nft delete table inet tng; nft list ruleset
"""
GUARD = """set -e
nft add table inet tng_guard; nft -f "$0"; nft list ruleset
"""
IPTABLES = """set -e
save() { iptables-save; ip6tables-save; ipset list -terse; }
sh "$0"; save; echo ==; sh "$0"; save; echo ==
sh "$0" remove; save
"""


@pytest.mark.parametrize("ruleset", RULESETS, ids=lambda path: path.stem)
def test_nft_loads_it_twice_alike_and_its_removal_leaves_nothing(ruleset: Path) -> None:
    with _cgroups_of(ruleset):
        first, second, removed = _isolated(NFT, ruleset)
    assert ("redirect to" in first) == captures(ruleset)
    assert first == second
    assert removed.strip() == ""


@pytest.mark.parametrize("guard", GUARDS, ids=lambda path: path.stem)
def test_nft_loads_the_guard_into_an_empty_table(guard: Path) -> None:
    with _cgroups_of(guard):
        (loaded,) = _isolated(GUARD, guard)
    assert ("reject with tcp reset" in loaded) == captures(guard)
    assert "redirect to" not in loaded


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_iptables_loads_it_twice_alike_and_its_removal_leaves_nothing(script: Path) -> None:
    with _cgroups_of(script):
        first, second, removed = (_without_figures(text) for text in _isolated(IPTABLES, script))
    assert ("REDIRECT" in first) == captures(script)
    assert first == second
    assert "tng" not in removed


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_iptables_restore_accepts_the_documents(script: Path) -> None:
    parts = re.findall(r"^(ip6?tables-restore|ipset restore)[^\n]*<<'END'\n(.*?)^END$", script.read_text(), re.M | re.S)
    loaded = parts[len(parts) // 2 :]
    assert {command for command, _ in loaded} >= {"iptables-restore", "ip6tables-restore"}
    with _cgroups_of(script):
        for command, text in loaded:
            sets = "".join(content for name, content in loaded if name == "ipset restore")
            argv = f"printf '%s' \"$0\" | ipset restore; exec {command} --test --noflush"
            if command != "ipset restore":
                _isolated(argv, sets, stdin=text)


def _isolated(script: str, argument: Path | str, stdin: str = "") -> list[str]:
    argv = ["unshare", "--net", *with_cgroups(["sh", "-c", script, str(argument)])]
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("==\n")


@contextmanager
def _cgroups_of(path: Path) -> Iterator[None]:
    """Make what the rules name, one test at a time: the names are those of the examples."""
    named = re.findall(r'^\s*"([^"]+)",?$|--path "([^"]+)"', path.read_text(), re.M)
    paths = sorted({one or two for one, two in named})
    with Path("/run/tng-test-cgroups.lock").open("w") as lock:
        if paths:
            fcntl.flock(lock, fcntl.LOCK_EX)
        with cgroups(*paths):
            yield


def _without_figures(text: str) -> str:
    """Without dates, counters and the sizes that ipset reports."""
    kept = [line for line in text.splitlines() if not line.startswith(("#", "Size", "References", "Header"))]
    return re.sub(r"\[\d+:\d+\]", "", "\n".join(kept))
