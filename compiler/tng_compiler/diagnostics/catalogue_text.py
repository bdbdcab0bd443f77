"""``TNG1xx``."""

from __future__ import annotations

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

TEXT: dict[Code, Explanation] = {}
