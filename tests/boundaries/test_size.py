"""Files and functions stay small enough to be read whole; what grows is split by stage or by value type."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ["compiler/tng_compiler", "runtime/tng_runtime", "demo/tng_demo", "bench"]


def sources() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and lines of each function, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0]
            said = ast.get_docstring(node) is not None and first.end_lineno is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if said else 0
            yield (
                f"{path.relative_to(ROOT)}:{node.name}",
                (node.end_lineno or node.lineno) - node.lineno + 1 - docstring,
            )


def percentile(values: list[int], part: float) -> int:
    return sorted(values)[int(len(values) * part)]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_has_more_than_600_lines(path: Path) -> None:
    assert lines(path) <= 600


def test_half_of_the_files_have_at_most_150_lines_and_most_at_most_400() -> None:
    counted = [lines(path) for path in sources()]
    assert percentile(counted, 0.5) <= 150
    assert percentile(counted, 0.9) <= 400


def test_no_function_has_more_than_80_lines_and_most_at_most_40() -> None:
    counted = dict(entry for path in sources() for entry in functions(path))
    assert {name: count for name, count in counted.items() if count > 80} == {}
    assert percentile(list(counted.values()), 0.9) <= 40
