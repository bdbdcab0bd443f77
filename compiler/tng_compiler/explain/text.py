"""The answer for people: the fate, then the rules that led there, what nearly captured it, and what comes after."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import fill

from tng_compiler.diagnostics.quoting import visible
from tng_compiler.explain.answer import After, Answer, Case, Miss, Step

_WIDTH = 120
_RULE = 64


def render(answer: Answer) -> str:
    """Return the paragraphs, one case after the other."""
    lines = list(_head(answer))
    single = len(answer.cases) == 1
    for number, case in enumerate(answer.cases, 1):
        lines.append("")
        if not single:
            lines.append(f"case {number}: {_when(case)}")
        lines += (line if single else f"  {line}".rstrip() for line in _case(case, single=single))
    lines += ["", *(fill(f"assumed: {'; '.join(answer.assumed)}", _WIDTH, subsequent_indent="  ").splitlines())]
    return "\n".join(lines) + "\n"


def _head(answer: Answer) -> Iterator[str]:
    flow = f"flow: {visible(answer.flow, 200)}"
    if len(answer.cases) == 1:
        yield f"{_fate(answer.cases[0])}"
    elif answer.fate == "depends":
        yield f"depends on the {_listed(answer.on)}"
    else:
        yield f"{_PLAIN[answer.fate]} in every case; how depends on the {_listed(answer.on)}"
    yield flow


_PLAIN = {"captured": "CAPTURED", "taken": "TAKEN by a door", "passed": "PASSED in plaintext", "refused": "REFUSED"}


def _listed(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _when(case: Case) -> str:
    return "; ".join(
        what
        if kind in ("direction", "family", "connection tracking", "side that speaks first")
        else _condition(kind, what)
        for kind, what in case.when
    )


def _condition(kind: str, what: str) -> str:
    return what if what.startswith("any other") else f"{kind} {what}"


def _fate(case: Case) -> str:
    match case.fate:
        case "captured":
            return f"CAPTURED by {case.entry}, to port {case.port}: {_proven(case.after)}"
        case "taken":
            return f"TAKEN by {case.entry}, a door on port {case.port}: {_proven(case.after)}"
        case "refused" if case.entry:
            return f"REFUSED for {case.entry}"
        case _:
            return _PLAIN[case.fate]


def _proven(after: After | None) -> str:
    if after is None or not after.proofs:
        return "NOBODY PROVES ANYTHING (no_ra)"
    return "; ".join(f"{proof.who} proves itself to {proof.whom} ({proof.model})" for proof in after.proofs)


def _case(case: Case, *, single: bool) -> Iterator[str]:
    if not single:
        yield _fate(case)
    yield case.reason + (f"; {case.item} names the destination" if case.item else "")
    yield f"such as: {case.example}"
    yield from _steps(case.steps)
    yield from _misses(case.misses)
    yield from _after(case.after, "after the door" if case.fate == "taken" else "after the capture")


def _steps(steps: tuple[Step, ...]) -> Iterator[str]:
    yield ""
    if not steps:
        yield "steps: no rule matches"
        return
    yield "steps"
    lines = max(len(str(step.line)) for step in steps)
    chains = max(len(step.chain) for step in steps)
    rules = [step.rule.rpartition(' comment "')[0] or step.rule for step in steps]
    width = min(max(map(len, rules)), _RULE)
    for step, rule in zip(steps, rules, strict=True):
        place = f"ruleset.nft:{str(step.line).ljust(lines)}  {step.chain.ljust(chains)}"
        yield f"  {place}  {rule.ljust(width)}  {step.pointer or f'({step.why})'}"


def _misses(misses: tuple[Miss, ...]) -> Iterator[str]:
    if misses:
        yield ""
        yield "near misses"
        yield from (f"  {miss.pointer} {miss.change}" for miss in misses)


def _after(after: After | None, title: str) -> Iterator[str]:
    if after is None:
        return
    yield ""
    yield title
    yield from (f"  {step}" for step in after.steps)
    yield from (f"  {proof.who} proves itself to {proof.whom}: {proof.how}" for proof in after.proofs)
    if not after.proofs:
        yield "  nobody proves anything: the entry says no_ra"
