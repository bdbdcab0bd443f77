"""``find``: a flow that a pattern holds for, or the proof that there is none.

Exit status: 0 answered, 1 the document has errors or the answer is not what ``--expect`` says, 2 usage, also for a
pattern that cannot be read.
"""

from __future__ import annotations

import json
import sys

from tng_compiler.cli.app import AnswerFormat, Expect
from tng_compiler.cli.exits import Exit
from tng_compiler.cli.inputs import document
from tng_compiler.cli.progress import working
from tng_compiler.cli.report import Format, report
from tng_compiler.diagnostics.mistake import render
from tng_compiler.find.mistakes import PatternError
from tng_compiler.find.pattern import Pattern, parse
from tng_compiler.find.search import find
from tng_compiler.pipeline import compile_bytes
from tng_compiler.regions.flow import witness
from tng_compiler.regions.solve import Region
from tng_compiler.regions.text import conditions, destinations, outcome

NONE = "none: no traffic is like that; every direction, destination, port, cgroup and set was considered"


def run_find(argument: str, text: str, expect: Expect | None, format_: AnswerFormat, *, every: bool) -> Exit:
    """Answer on standard output."""
    name, data = document(argument, "find")
    with working(f"compiling {name}"):
        outcome = compile_bytes(name, data)
    if outcome.plan is None:
        report([item for item in outcome.found if item.is_error], Format.TEXT, sys.stderr)
        return Exit.FINDINGS
    try:
        pattern = parse(text, outcome.plan)
    except PatternError as error:
        sys.stderr.write(render("PATTERN", text, error.within(text)))
        return Exit.USAGE
    with working("searching"):
        regions = find(outcome.plan, pattern)
    shown = regions if every else regions[:1]
    sys.stdout.write(_json(regions, shown) if format_ is AnswerFormat.JSON else _text(pattern, regions, shown))
    if expect and (expect is Expect.SOME) != bool(regions):
        found = f"{len(regions)} region{'s' * (len(regions) != 1)} of traffic" if regions else "none"
        print(f"tng: expected {expect.value}, found {found}", file=sys.stderr)
        return Exit.FINDINGS
    return Exit.CLEAN


def _text(pattern: Pattern, regions: tuple[Region, ...], shown: tuple[Region, ...]) -> str:
    if not regions:
        return f"{NONE}{_assumed(pattern)}\n"
    lines = []
    for region in shown:
        only = conditions(region)
        lines += [
            f"{witness(region)}",
            f"  {outcome(region.answer)}",
            f"  one of {destinations(region)}" + (f", {only}" if only else ""),
        ]
    more = len(regions) - len(shown)
    if more:
        lines.append(f"and {more} more region{'s' * (more != 1)} of traffic: --all lists them")
    return "\n".join(lines) + "\n"


def _assumed(pattern: Pattern) -> str:
    """What a proof takes for granted, as the answers of ``explain`` do."""
    age = [] if any(state.established for state in pattern.states) else ["a new connection"]
    runtime = [] if any(state.down for state in pattern.states) else ["the runtime up"]
    return f"\nassumed: {', '.join(age + runtime)}" if age or runtime else ""


def _json(regions: tuple[Region, ...], shown: tuple[Region, ...]) -> str:
    from tng_compiler.regions.values import fate_json, region_json

    found = [
        {
            "direction": region.way,
            "protocol": region.protocol,
            "connection": "established" if region.state.established else "new",
            "runtime": "down" if region.state.down else "up",
            **fate_json(region.answer),
            **region_json(region),
        }
        for region in shown
    ]
    return json.dumps({"format_version": 1, "found": len(regions), "regions": found}, indent=2) + "\n"
