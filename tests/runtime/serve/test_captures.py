"""What entries capture, read back from rulesets that the compiler wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tng_compiler.emit import nft
from tng_compiler.pipeline import compile_bytes
from tng_runtime.serve.captures import SHOWN, captures

EXAMPLES = sorted((Path(__file__).parents[3] / "examples").glob("*.json"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_entry_of_the_examples_captures_something(example: Path) -> None:
    plan = compile_bytes(example.name, example.read_bytes()).plan
    assert plan is not None
    found = captures(nft.render(plan))
    assert set(found) == {entry.pointer for entry in plan.entries}
    assert all(found.values())
    assert "@ingress" not in str(found)


def test_of_a_set_the_first_elements_are_shown() -> None:
    items = ", ".join(f'{{"host": "10.0.0.{number}", "port": 80}}' for number in range(1, 79, 2))
    text = f'{{"add_ingress": [{{"netfilter": {{"capture_dst": [{items}]}}, "no_ra": true}}]}}'
    plan = compile_bytes("x", text.encode()).plan
    assert plan is not None
    (said,) = captures(nft.render(plan))["/add_ingress/0"]
    assert said.startswith("ip daddr . tcp dport { 10.0.0.1 . 80, ")
    assert said.count(" . 80") == SHOWN
    assert said.endswith(f"and {39 - SHOWN} more }}")
