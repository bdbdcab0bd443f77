"""What may be imported where. The layers are contracts of import-linter in pyproject.toml; these are whole programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Modules that a host in a TEE would have to trust, and does not need.
NOT_IN_THE_RUNTIME = [
    "jsonschema",
    "lark",
    "typer",
    "rich",
    "syrupy",
    "pytest",
    "tng_compiler",
    "tng_demo",
]
# A compiler that reads nothing but text needs none of these, and `tng check` has to start fast.
NOT_IN_THE_COMPILER = [
    "socket",
    "ssl",
    "httpx",
    "anyio",
    "cryptography",
    "OpenSSL",
    "uvloop",
    "tng_runtime",
    "tng_demo",
]


def imported_by(module: str) -> set[str]:
    program = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


def test_the_runtime_needs_nothing_of_the_compiler() -> None:
    assert imported_by("tng_runtime.__main__").isdisjoint(NOT_IN_THE_RUNTIME)


def test_the_compiler_needs_no_network() -> None:
    assert imported_by("tng_compiler.pipeline").isdisjoint(NOT_IN_THE_COMPILER)


def test_one_module_knows_the_binding_of_nftables() -> None:
    knowing = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "runtime").rglob("*.py"))
        if "NFT_BINDING" in path.read_text(encoding="utf-8")
    ]
    assert knowing == ["runtime/tng_runtime/kernel/nftables.py"]


@pytest.mark.parametrize("package", ["compiler", "runtime"])
def test_no_shell_is_ever_started(package: str) -> None:
    """Names from a configuration reach no shell, because there is none."""
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "shell=True" not in text, path
        assert "os.system" not in text, path
