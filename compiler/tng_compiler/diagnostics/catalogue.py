"""Every code with its explanation: the sum of one table a stage. Loaded only by those who explain."""

from __future__ import annotations

from tng_compiler.diagnostics.catalogue_capture import CAPTURE
from tng_compiler.diagnostics.catalogue_host import HOST
from tng_compiler.diagnostics.catalogue_meaning import MEANING
from tng_compiler.diagnostics.catalogue_shape import SHAPE
from tng_compiler.diagnostics.catalogue_text import TEXT
from tng_compiler.diagnostics.catalogue_trust import TRUST
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.explanation import Explanation

CATALOGUE: dict[Code, Explanation] = TEXT | SHAPE | MEANING | CAPTURE | TRUST | HOST
