"""The generated parts of docs/security.md: codes from the registries, results from JUnit files.

A part stands between two comments and is replaced as a whole. What needs results is only rewritten when results are
given; ``check`` holds the number of cases in each row against the tests that pytest collects.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from hostile.catalogue import COMPILER, LINES, numbers
from tng_runtime.attest import verdict
from tng_runtime.attest.codes import Code
from tng_runtime.errors import ExplainedCode, LinkCode

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
TESTS = ("tests/hostile", "tests/runtime", "tests/packets", "tests/interop/test_interop.py")
INTEROP = re.compile(r"test_interop(?:\.py)?::(test_\w+)\[(.*)\]")
_DIRECTION = re.compile(r"-?\b(ours_to_rust|rust_to_ours)\b-?")


@dataclass(frozen=True, slots=True)
class Result:
    """One test: its id, how it ended, and the code that it saw."""

    test: str
    passed: bool
    code: str | None = None


def main(arguments: Sequence[str]) -> int:
    """Write the parts, or with ``--check`` compare them; the exit status."""
    text = DOCUMENT.read_text(encoding="utf-8")
    if arguments == ["--check"]:
        problems = check(text, collected())
        print("\n".join(problems) or "docs/security.md belongs to the codes and tests of today")
        return 1 if problems else 0
    text = with_codes(text)
    if arguments:
        results = [result for path in arguments for result in read(Path(path))]
        text = replaced(text, "hostile", hostile_table(results))
        text = replaced(text, "interop", interop_table(results))
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def with_codes(text: str) -> str:
    """``text`` with the parts that need no results."""
    steps = (verdict.__doc__ or "").partition("The checks, in order:\n\n")[2].partition("\n\nThat the peer")[0]
    text = replaced(text, "order", f"```text\n{steps}\n```")
    text = replaced(text, "attestation-codes", code_table(Code))
    return replaced(text, "link-codes", code_table(LinkCode))


def check(text: str, tests: Iterable[str]) -> list[str]:
    """What in ``text`` belongs to other codes or tests than those of today."""
    problems = [] if with_codes(text) == text else ["the codes or the order of the checks have changed"]
    known = list(tests)
    for part, wanted in (("hostile", hostile_counts(known)), ("interop", interop_counts(known))):
        written = _counts(part_of(text, part))
        problems += [
            f"{part}: row {row}: {written.get(row, 0)} cases are written down, {wanted.get(row, 0)} exist"
            for row in sorted(wanted.keys() | written.keys())
            if wanted.get(row, 0) != written.get(row, 0)
        ]
    if problems:
        problems.append("run: scripts/test --junitxml=results.xml; scripts/security-tables results.xml")
    return problems


def collected() -> list[str]:
    """The ids of the tests that pytest finds."""
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [line for line in done.stdout.splitlines() if "::" in line]
    if done.returncode or not found:
        raise SystemExit(f"pytest could not collect: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return found


def read(path: Path) -> list[Result]:
    """The tests of a JUnit file; skipped ones did not pass."""
    found = []
    for case in ElementTree.parse(path).iter("testcase"):
        failed = any(child.tag in ("failure", "error", "skipped") for child in case)
        codes = [item.get("value") for item in case.iter("property") if item.get("name") == "refused"]
        found.append(Result(f"{case.get('classname')}::{case.get('name')}", not failed, codes[0] if codes else None))
    return found


def code_table(codes: Iterable[ExplainedCode]) -> str:
    """Code, meaning, action."""
    rows = [f"| `{code}` | {code.meaning} | {code.action} |" for code in codes]
    return "\n".join(["| code | meaning | what to do |", "|---|---|---|", *rows])


def hostile_table(results: Sequence[Result]) -> str:
    """One row per line of the catalogue."""
    rows = ["| line | input | cases | seen as | result |", "|---|---|---|---|---|"]
    for number, about in LINES.items():
        cases = [result for result in results if number in numbers(result.test)]
        codes = ", ".join(sorted({code for case in cases if case.code for code in case.code.split()}))
        passed = "passed" if all(case.passed for case in cases) else "FAILED"
        if not cases and number in COMPILER:
            passed = "the compiler's golden files"
        rows.append(
            f"| {number} | {about} | {len(cases)} | {codes} | {passed if cases or number in COMPILER else '-'} |"
        )
    return "\n".join(rows)


def hostile_counts(tests: Iterable[str]) -> Counter[str]:
    """How many tests there are for each line."""
    return Counter(str(number) for test in tests for number in numbers(test))


def interop_table(results: Sequence[Result]) -> str:
    """One row per relation of trust and direction."""
    found: dict[str, list[bool]] = {}
    for result in results:
        if row := _interop_row(result.test):
            found.setdefault(row, []).append(result.passed)
    rows = ["| relation | direction | cases | result |", "|---|---|---|---|"]
    for row, passed in sorted(found.items()):
        relation, _, direction = row.partition(" ")
        rows.append(f"| {relation} | {direction} | {len(passed)} | {'passed' if all(passed) else 'FAILED'} |")
    return "\n".join(rows)


def interop_counts(tests: Iterable[str]) -> Counter[str]:
    """How many tests there are for each row."""
    return Counter(row for test in tests if (row := _interop_row(test)))


def part_of(text: str, name: str) -> str:
    """The part of that name."""
    return text.partition(f"<!-- generated: {name} -->")[2].partition("<!-- end -->")[0]


def replaced(text: str, name: str, part: str) -> str:
    """``text`` with another part of that name."""
    begin = f"<!-- generated: {name} -->"
    head, found, rest = text.partition(begin)
    assert found, f"{DOCUMENT} has no place for {name}"
    return f"{head}{begin}\n{part}\n{rest[rest.index('<!-- end -->') :]}"


def _counts(table: str) -> dict[str, int]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    found = {" ".join(row[:2]) if len(row) == 4 else row[0]: int(row[2]) for row in cells}
    return {row: count for row, count in found.items() if count}


def _interop_row(test: str) -> str | None:
    match = INTEROP.search(test)
    if match is None or (direction := _DIRECTION.search(match[2])) is None:
        return None
    before, after = match[2][: direction.start()], match[2][direction.end() :]
    parts = [part for part in re.split("-", f"{before}-{after}") if part not in ("", "client", "server")]
    return f"{'-'.join(parts)} {direction[1]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
