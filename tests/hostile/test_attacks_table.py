"""The table of attacks in docs/security.md names tests and rules that are there."""

from __future__ import annotations

import re

from hostile.tables import DOCUMENT, ROOT


def test_every_row_names_tests_and_chains_that_exist() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = text.partition("### Who attacks the rules")[2].partition("### ")[0].splitlines()
    cells = [row.split(" | ") for row in rows if row.startswith("| ") and "`test_" in row]
    assert len(cells) >= 15
    there = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    goldens = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "snapshots" / "emit").glob("*.nft"))
    for row in cells:
        named = re.findall(r"`(test_\w+)`", row[-1])
        assert named, row
        assert [test for test in named if f"def {test}(" not in there] == []
        chains = re.findall(r"`(\w*(?:strays|guard|own|refuse|withhold)\w*)`", row[2])
        assert [chain for chain in chains if f"{chain} {{" not in goldens and f"{chain} " not in goldens] == []
