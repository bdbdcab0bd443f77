"""What ``tng explain`` says of a flow is what the kernel does with it: documents and flows by lot, sent as packets."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from packets import run
from packets.drawn import MEMBER, Drawn, document, shots
from packets.volley import Ground, goes_on, ground, listeners, opened, volley
from tng_compiler.emit import iptables, nft
from tng_compiler.explain.answer import Answer
from tng_compiler.explain.ask import ask
from tng_compiler.explain.flow import Flow, parse
from tng_compiler.pipeline import Backend
from tng_compiler.plan import names

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300)]

SEED = int(os.environ.get("TNG_SEED", "1"))
"""Another one draws other documents and flows."""
ROUNDS: dict[Backend, int] = {"nft": 28, "iptables": 8}
FLOWS = 90
OLDER_ROUNDS: dict[Backend, int] = {"nft": 12, "iptables": 4}
OLDER = 60


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
        run.remove(host, plan, backend)
        if backend == "iptables":
            for group in plan.operator_sets:
                host.run("ipset", "destroy", group.name)


@contextlib.contextmanager
def tracker(built: Ground) -> Iterator[None]:
    """Connections are tracked before our rules are loaded."""
    host = built.hosts["host"]
    host.run("nft", "-f", "-", stdin=run.TRACKER)
    try:
        yield
    finally:
        host.run("nft", "delete table inet tracker")


def redirected(built: Ground) -> dict[str, int]:
    """How many connections each entry has redirected, as the kernel counted them."""
    listed = json.loads(built.hosts["host"].run("nft", "-j", "list", "counters").stdout)
    counters = [item["counter"] for item in listed["nftables"] if "counter" in item]
    return {each["name"]: each["packets"] for each in counters if each["name"].endswith("_captured")}


def said(drawn: Drawn, text: str) -> Answer:
    flow = parse(text)
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
                counted = redirected(built) if backend == "nft" else None
            # iptables cannot tell whose the socket is that has a listen port, as its script says in its head.
            squatted = backend == "iptables" and drawn.runtime == "squatted"
            runtime = "up" if squatted else drawn.runtime
            answers = [said(drawn, shot.flow(runtime)) for shot in flows]
            ports = Counter(answer.cases[0].port for answer in answers)
            expected = {names.captured(entry): ports[entry.listen_port] for entry in drawn.plan.entries}
            if counted is not None and counted != expected:
                wrong.append(f"the kernel redirected {counted}, explain {expected}\n  {drawn.text}")
            for shot, answer, kernel in zip(flows, answers, found, strict=True):
                explained = in_words(answer)
                fates[explained.split()[0]] += 1
                if explained != kernel:
                    wrong.append(f"{shot.flow(runtime)}: the kernel {kernel}, explain {explained}\n  {drawn.text}")
    assert wrong == [], f"TNG_SEED={SEED}: {len(wrong)} of {fates.total()}\n" + "\n".join(wrong[:12])
    assert fates.total() == ROUNDS[backend] * FLOWS
    assert min(fates[fate] for fate in ("captured", "passed", "refused")) > fates.total() // 20, fates


@pytest.mark.parametrize("backend", ROUNDS)
def test_explain_says_what_becomes_of_older_connections(backend: Backend) -> None:
    lot = random.Random(f"{SEED} older {backend}")
    wrong: list[str] = []
    fates: Counter[str] = Counter()
    with ground() as built:
        for number in range(OLDER_ROUNDS[backend]):
            tracked = number % 2 == 0
            drawn = replace(document(lot, backend), runtime="up")
            ports = {entry.listen_port for entry in drawn.plan.entries}
            flows = [shot for shot in shots(lot, drawn, OLDER) if shot.protocol == "tcp" and shot.port not in ports]
            speakers = [lot.choice(("client", "service")) for _ in flows]
            with tracker(built) if tracked else contextlib.nullcontext(), opened(built, flows) as pairs:
                sources = [near.getsockname()[:2] for near, _ in pairs]
                with loaded(built, drawn, backend), listeners(built, drawn):
                    turns = zip(pairs, speakers, strict=True)
                    found = goes_on([pair if speaker == "client" else pair[::-1] for pair, speaker in turns])
            for shot, source, speaker, kernel in zip(flows, sources, speakers, found, strict=True):
                text = shot.older(source[0], source[1], speaker, tracked=tracked)
                explained = in_words(said(drawn, text))
                fates[explained] += 1
                # A connection of ours has its zone from its first segment on. One that gets it later goes on or breaks,
                # by which source port is free in the zone; it is never captured.
                either = shot.mark in drawn.plan.marks and {explained, kernel} == {"passed", "refused"}
                if explained != kernel and not either:
                    wrong.append(f"{text}: the kernel {kernel}, explain {explained}\n  {drawn.text}")
    assert wrong == [], f"TNG_SEED={SEED}: {len(wrong)} of {fates.total()}\n" + "\n".join(wrong[:12])
    assert min(fates[fate] for fate in ("passed", "refused")) > fates.total() // 20, fates


def test_at_least_3000_pairs_are_drawn() -> None:
    assert sum(ROUNDS.values()) * FLOWS >= 3000
