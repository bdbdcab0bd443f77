"""``explain-code``: the catalogue, one code or all of them, for terminals and for docs/diagnostics.md.

The codes of the runtime's log are the runtime's to explain: it is executed for them.
"""

from __future__ import annotations

import re
import subprocess
import sys
from textwrap import fill

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.runtime import become, find_runtime
from tng_compiler.diagnostics.catalogue import CATALOGUE
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.document import document

_OF_THE_RUNTIME = re.compile(r"[A-Z]{2,4}-[A-Z0-9-]+").fullmatch


def run_explain_code(wanted: str | None, *, markdown: bool) -> Exit:
    """Print one explanation, the list of all codes, or the document."""
    if markdown:
        sys.stdout.write(document())
        return Exit.CLEAN
    if wanted is None:
        for code in sorted(CATALOGUE, key=lambda code: code.value):
            print(f"{code.value}  {CATALOGUE[code].title}")
        sys.stdout.flush()
        done = subprocess.run([find_runtime(), "explain-code"], check=False)
        return Exit.CLEAN if done.returncode == 0 else Exit.HOST_NOT_READY
    if _OF_THE_RUNTIME(wanted.upper()):
        become(find_runtime(), ["explain-code", wanted])
    try:
        code = Code(wanted.upper())
    except ValueError:
        fail(
            Exit.USAGE,
            f"expected a code such as TNG202 or NET-DIAL, found {wanted[:40]!r}",
            "`tng explain-code` lists all of them",
        )
    explanation = CATALOGUE[code]
    print(f"{code.value}: {explanation.title}\n\n{fill(explanation.why, 96)}")
    for label, text in (("Such as", explanation.example), ("Instead", explanation.instead)):
        if text:
            print(f"\n{label}:\n")
            print("\n".join(f"    {line}" for line in text.splitlines()))
    return Exit.CLEAN
