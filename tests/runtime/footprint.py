"""What the processes of a run hold: descriptors and memory, before something and after it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from runtime.processes import until
from tng_demo.process import Process

# Python keeps arenas that it has used once; what is leaked per connection would exceed this by far.
MEMORY_SLACK = 24 << 20


def descriptors(run: Process) -> int:
    """How many all processes of ``run`` have open."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in run.all_pids())


def memory(run: Process) -> int:
    """Resident bytes of all processes of ``run``, those that they share counted once."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in run.all_pids()]
    lines = [line for rollup in rollups for line in rollup.splitlines()]
    return 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


@contextlib.contextmanager
def bounded(*runs: Process) -> Iterator[None]:
    """Assert that after the block they hold what they held before."""
    before = [(run, descriptors(run), memory(run)) for run in runs]
    yield
    # Fewer are in order: who answers questions about the run is there only while somebody asks.
    until(lambda: all(descriptors(run) <= had for run, had, _ in before), "more descriptors are left open")
    assert [run.pid for run, _, used in before if memory(run) > used + MEMORY_SLACK] == []
