"""What ``tng explain`` says of a flow is what the kernel does with it: documents and flows by lot, sent as packets."""

from __future__ import annotations

import contextlib
import os
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from packets import run
from packets.drawn import MEMBER, Drawn, Shot, document, shots
from packets.volley import Ground, ground, listeners, volley
from tng_compiler.emit import iptables, nft
from tng_compiler.explain.answer import Answer
from tng_compiler.explain.ask import ask
from tng_compiler.explain.flow import Flow, parse
from tng_compiler.pipeline import Backend

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

SEED = int(os.environ.get("TNG_SEED", "1"))
"""Another one draws other documents and flows."""
ROUNDS: dict[Backend, int] = {"nft": 28, "iptables": 8}
FLOWS = 90


@contextlib.contextmanager
def loaded(built: Ground, drawn: Drawn, backend: Backend) -> Iterator[None]:
    host, plan = built.hosts["host"], drawn.plan
    text = nft.render(plan) if backend == "nft" else iptables.render(plan)
    run.load_rules(host, plan, backend, text)
    for group in plan.operator_sets:
        run.fill(host, plan, backend, group.name, MEMBER[group.family])
    try:
        yield
    finally:
        run.unload(host, plan, backend)
        if backend == "iptables":
            for group in plan.operator_sets:
                host.run("ipset", "destroy", group.name)


def said(drawn: Drawn, shot: Shot) -> Answer:
    flow = parse(shot.flow(drawn.runtime))
    assert isinstance(flow, Flow), flow
    return ask(drawn.plan, drawn.config, flow)


def in_words(answer: Answer) -> str:
    (case,) = answer.cases
    return f"captured {case.port}" if case.fate == "captured" else case.fate


@pytest.mark.parametrize("backend", ROUNDS)
def test_explain_says_what_the_kernel_does(backend: Backend) -> None:
    """Prints the seed and the document with each difference: ``TNG_SEED`` draws the same again."""
    lot = random.Random(f"{SEED} {backend}")
    wrong: list[str] = []
    fates: Counter[str] = Counter()
    with ground() as built:
        for _ in range(ROUNDS[backend]):
            drawn = document(lot, backend)
            flows = shots(lot, drawn, FLOWS)
            with loaded(built, drawn, backend), listeners(built, drawn) as ours:
                found = volley(built, ours, flows)
            for shot, kernel in zip(flows, found, strict=True):
                explained = in_words(said(drawn, shot))
                fates[explained.split()[0]] += 1
                if explained != kernel:
                    wrong.append(
                        f"{shot.flow(drawn.runtime)}: the kernel {kernel}, explain {explained}\n  {drawn.text}"
                    )
    assert wrong == [], f"TNG_SEED={SEED}: {len(wrong)} of {fates.total()}\n" + "\n".join(wrong[:12])
    assert fates.total() == ROUNDS[backend] * FLOWS
    assert min(fates[fate] for fate in ("captured", "passed", "refused")) > fates.total() // 20, fates


def test_at_least_3000_pairs_are_drawn() -> None:
    assert sum(ROUNDS.values()) * FLOWS >= 3000
