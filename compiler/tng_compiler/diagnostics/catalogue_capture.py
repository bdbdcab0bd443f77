"""``TNG4xx``: what the analysis of the captured regions finds."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

CAPTURE: dict[Code, Explanation] = {}
