"""What ``scripts/package --check`` looks at: bytes, lintian, and a fresh Debian that installs, upgrades and removes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from package import completions, programs

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tng-package"
SCRIPT = Path(__file__).with_name("fresh.sh")
EXAMPLES = Path(__file__).parents[1] / "examples"
SUITES = ("bookworm", "trixie")


def same(first: Sequence[Path], second: Sequence[Path]) -> None:
    """End with an error unless both builds have the same bytes."""
    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise SystemExit(f"two builds of {one.name} differ")
    print("ok: two builds have the same bytes")


def lintian(packages: Sequence[Path]) -> None:
    """End with an error if lintian finds what package/debian/lintian-overrides does not except."""
    _require("lintian")
    subprocess.run(["lintian", "--fail-on=error,warning", "--allow-root", *map(str, packages)], check=True)
    print("ok: lintian")


def installs(packages: Sequence[Path]) -> None:
    """Install, run, upgrade, remove and purge both packages in a minimal Debian of each suite that they are for."""
    _require("debootstrap")
    for suite in SUITES:
        base = CACHE / suite
        if not base.is_dir():
            CACHE.mkdir(parents=True, exist_ok=True)
            unfinished = CACHE / f"{suite}.new"
            shutil.rmtree(unfinished, ignore_errors=True)
            subprocess.run(
                ["debootstrap", "--variant=minbase", suite, str(unfinished)], check=True, stdout=subprocess.DEVNULL
            )
            unfinished.rename(base)
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", str(SCRIPT), str(base), scratch]
            subprocess.run([*command, str(EXAMPLES / "ingress_netfilter.json"), *map(str, packages)], check=True)
        print(f"ok: installed, upgraded, removed and purged in {suite}")


def others(root: Path) -> None:
    """What is looked at where the program for it is here: zsh, fish, kubernetes-validate (of PyPI)."""
    shown = (programs.compiler(), programs.runtime())
    texts = [("zsh", completions.zsh), ("fish", completions.fish)]
    for shell, render in texts:
        for program in shown:
            _if_here([shell, "-n", "/dev/stdin"], render(program))
    for manifest in sorted((root / "examples/kubernetes").glob("*.yaml")):
        _if_here(["kubernetes-validate", "--strict", str(manifest)])


def _if_here(command: Sequence[str], text: str = "") -> None:
    if shutil.which(command[0]) is None:
        print(f"NOT RUN: {command[0]} is not installed")
        return
    subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    print(f"ok: {command[0]}")


def _require(program: str) -> None:
    if shutil.which(program) is None:
        raise SystemExit(f"{program} is needed: apt install {program}")
