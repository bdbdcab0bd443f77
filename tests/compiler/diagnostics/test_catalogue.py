"""Every code is explained, and docs/diagnostics.md says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tng_compiler.diagnostics.catalogue import CATALOGUE
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.document import document

DOCUMENT = Path(__file__).parents[3] / "docs" / "diagnostics.md"


def test_every_code_has_an_explanation_and_no_other() -> None:
    assert set(CATALOGUE) == set(Code)


@pytest.mark.parametrize("code", Code)
def test_an_explanation_has_a_title_and_a_reason(code: Code) -> None:
    explanation = CATALOGUE[code]
    assert explanation.title
    assert not explanation.title.endswith(".")
    assert len(explanation.title) <= 80
    assert explanation.why.endswith(".")


def test_the_document_is_up_to_date() -> None:
    """``tng explain-code --markdown > docs/diagnostics.md`` makes it."""
    assert DOCUMENT.read_text("utf-8") == document()
