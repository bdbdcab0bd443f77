"""A program of the host, real ones: what they say, and what ends them."""

from __future__ import annotations

import sys
import time

import pytest

from tng_runtime.errors import HostError
from tng_runtime.kernel import program

BOTH = "import sys; sys.stderr.write('b' * 300_000); sys.stdout.write('a' * 300_000); sys.exit(7)"


def test_what_a_program_says_is_taken_from_both_of_its_outputs() -> None:
    code, output, problem = program.run([sys.executable, "-c", BOTH])
    assert (code, output, problem) == (7, "a" * 300_000, "b" * 300_000)


def test_nothing_of_the_environment_reaches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/nonexistent")
    _, output, _ = program.run(["/usr/bin/env"])
    assert output == "LC_ALL=C\n"


@pytest.mark.parametrize(
    "says", ["import time; time.sleep(600)", "import os, time; os.close(1); os.close(2); time.sleep(600)"]
)
def test_a_program_that_does_not_end_is_ended(says: str) -> None:
    before = time.monotonic()
    with pytest.raises(HostError, match="did not end in"):
        program.run([sys.executable, "-c", says], deadline=0.5)
    assert time.monotonic() - before < 300


def test_a_program_that_says_too_much_is_ended() -> None:
    with pytest.raises(HostError, match="said more than 1000 bytes"):
        program.run([sys.executable, "-c", "while True: print('a' * 1000)"], limit=1000)


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(HostError, match="/nonexistent/tool cannot be started: No such file"):
        program.run(["/nonexistent/tool"])
