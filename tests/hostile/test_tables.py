"""The tables of docs/security.md belong to the codes and tests of today, and every line of the catalogue has a test."""

from __future__ import annotations

import pytest

from hostile import tables
from hostile.catalogue import COMPILER, LINES, numbers


@pytest.fixture(scope="module")
def tests() -> list[str]:
    """What pytest collects."""
    return tables.collected()


def test_the_document_is_up_to_date(tests: list[str]) -> None:
    """`scripts/security-tables` was run after the last change of codes or tests, and nothing in it failed."""
    text = tables.DOCUMENT.read_text(encoding="utf-8")
    assert tables.check(text, tests) == []
    assert "FAILED" not in text
    assert LINES.keys() - COMPILER == {number for test in tests for number in numbers(test)} - COMPILER


def test_a_changed_count_is_noticed(tests: list[str]) -> None:
    """The check sees a case more and a case less."""
    text = tables.DOCUMENT.read_text(encoding="utf-8")
    gone = next(test for test in tests if "h39_" in test)
    assert any("row 39" in problem for problem in tables.check(text, [test for test in tests if test != gone]))
    assert any("row 16" in problem for problem in tables.check(text, [*tests, "tests/x.py::test_x[h16_new]"]))


def test_numbers_are_read_from_ids() -> None:
    """From names and from parameters, but not from other digits."""
    assert numbers("a/b.py::test_58_61_62_what_only_a_deadline_ends") == {58, 61, 62}
    assert numbers("a/b.py::test_x[ingress-h39_alg_none]") == {39}
    assert numbers("a/b.py::test_x[h55_10_mb-egress]") == {55}
    assert numbers("a/b.py::test_h45_jku") == {45}
    assert numbers("a/b.py::test_x[h114_a_leaf_for_tls]") == {114}
    assert numbers("a/b.py::test_112_88_a_late_answer") == {88, 112}
    assert numbers("a/b.py::test_x[2048-sha256_10_x]") == set()
