"""docs/faults.md: every fault of the list has tests at rest and under load, and the tests that are named are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs/faults.md").read_text("utf-8")
FAULTS = (
    *("SIGTERM", "SIGKILL", "OOM kill", "SIGSTOP for 30 s", "agent away and back", "service away", "service slow"),
    *("service lying", "disk full", "EMFILE", "conntrack full", "table deleted by another hand", "link down and up"),
    *("clock jump", "IPv6 switched on late", "address changed"),
)


def functions(path: Path) -> set[str]:
    parsed = ast.parse(path.read_text("utf-8"))
    return {node.name for node in ast.walk(parsed) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_fault_is_proven_at_rest_and_under_load() -> None:
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `tests/[^|]+ \| `tests/[^|]+ \|$", TABLE, re.MULTILINE)
    assert [fault for fault in FAULTS if not any(row.startswith(fault) for row in rows)] == []
    assert len(rows) == TABLE.count("\n| ") - 1, "the head"


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[a-z/_0-9]+\.py)::(\w+)`", TABLE)
    assert len(named) >= 2 * len(FAULTS)
    assert [pair for pair in named if pair[1] not in functions(ROOT / pair[0])] == []
    assert TABLE.count("::") == len(named)
