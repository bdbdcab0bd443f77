"""``explain``: one document and one flow to an answer on standard output, its fate as the exit status."""

from __future__ import annotations

import sys

from tng_compiler.cli.exits import Exit, fail
from tng_compiler.cli.inputs import document
from tng_compiler.cli.progress import working
from tng_compiler.cli.report import Format, report
from tng_compiler.diagnostics.mistake import render
from tng_compiler.explain.answer import Fate
from tng_compiler.explain.ask import ask
from tng_compiler.explain.cases import TooOpenError
from tng_compiler.explain.flow import Flow, parse
from tng_compiler.pipeline import compile_bytes

STATUS: dict[Fate, Exit] = {
    "captured": Exit.CLEAN,
    "taken": Exit.CLEAN,
    "passed": Exit.PASSED,
    "refused": Exit.REFUSED,
    "depends": Exit.DEPENDS,
}


def run_explain(argument: str, text: str, *, json: bool) -> Exit:
    """Print the answer; what is wrong with the flow or the document goes to standard error."""
    flow = parse(text)
    if not isinstance(flow, Flow):
        sys.stderr.write(render("FLOW", text, flow))
        return Exit.USAGE
    name, data = document(argument, "explain")
    with working(f"compiling {name}"):
        outcome = compile_bytes(name, data)
    if outcome.plan is None or outcome.config is None:
        report(outcome.found, Format.TEXT, sys.stderr)
        return Exit.FINDINGS
    try:
        answer = ask(outcome.plan, outcome.config, flow)
    except TooOpenError:
        fail(
            Exit.USAGE,
            "the flow leaves too much open for this document",
            "give an address, a port and a cgroup: `to HOST:PORT cgroup /PATH`",
        )
    if json:
        from tng_compiler.explain.as_json import render as as_json

        sys.stdout.write(as_json(answer, STATUS[answer.fate]))
    else:
        from tng_compiler.explain.text import render as as_text

        sys.stdout.write(as_text(answer))
    return STATUS[answer.fate]
