"""What goes into /opt/tng: the packages that the lock pins, and no others."""

from __future__ import annotations

import re

from package import locked
from package.__main__ import ROOT

LOCK, PROJECT = ROOT / "requirements.lock", ROOT / "pyproject.toml"


def pinned(text: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+==\S+)", text, re.MULTILINE))


def test_the_runtime_needs_what_its_own_lock_says() -> None:
    names = locked.needed(PROJECT, [])
    expected = pinned((ROOT / "requirements-runtime.lock").read_text("utf-8"))
    assert pinned(locked.lines(LOCK, names)) == expected


def test_the_compiler_needs_more_and_no_tool_of_the_checkout() -> None:
    runtime, both = locked.needed(PROJECT, []), locked.needed(PROJECT, ["compiler"])
    assert runtime < both
    assert {"typer", "lark", "jsonschema"} <= both
    assert not {"pytest", "mypy", "ruff", "hatchling"} & both


def test_each_line_keeps_its_digests() -> None:
    text = locked.lines(LOCK, {"idna"})
    assert re.fullmatch(r"idna==\S+ \\\n(    --hash=sha256:[0-9a-f]{64}( \\)?\n)+(    # .*\n)*", text)
