"""Many workers where there are few cores: the ingress alone in a quota of processor time, the rest of the machine free.

A quota of 60 % and four workers against one of 15 % and one worker stands in for a host with four times the cores.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.connections import cpu
from bench.phases import EACH_NEW, Figures, rate, wrk
from bench.report import Row, rows
from bench.sides import Program, Trust, tunnelled

_PERIOD = 100_000  # us
_V1 = Path("/sys/fs/cgroup/cpu")
_V2 = Path("/sys/fs/cgroup")
_ROWS: tuple[Row, ...] = (("new", "new connections/s", 0, True), ("requests", "keep-alive requests/s", 0, True))


@dataclass(frozen=True, slots=True)
class _Case:
    program: Program
    workers: int | None
    percent: int | None


_FOUR, _RUST, _ONE, _FREE = (
    _Case("ours", 4, 60),
    _Case("rust", None, 60),
    _Case("ours", 1, 15),
    _Case("ours", 4, None),
)


def tables(trust: Trust, rounds: int, seconds: int, peer: Path) -> str:
    """Three Markdown tables: against the Rust TNG, against a quarter of it, and shares of the work."""
    figures: dict[_Case, list[Figures]] = {_FOUR: [], _RUST: [], _ONE: [], _FREE: []}
    for number in range(rounds):
        for case in list(figures)[:: -1 if number % 2 else 1]:
            figures[case].append(_measure(case, trust, seconds, peer))
    shares = [each["share"] for each in figures[_FREE]]
    return (
        f"The ingress in 60 % of a core, ours with 4 workers ({trust}):\n\n"
        f"{rows(_ROWS, figures[_FOUR], figures[_RUST])}\n\n"
        "Ours alone, in a quota and in a quarter of it:\n\n"
        f"{rows(_ROWS, figures[_FOUR], figures[_ONE], ('4 workers, 60 %', '1 worker, 15 %'))}\n\n"
        "Processor time of 4 workers without a quota under new connections, most to least: "
        f"{median(shares):.2f}x ({min(shares):.2f}x to {max(shares):.2f}x)."
    )


def _measure(case: _Case, trust: Trust, seconds: int, peer: Path) -> Figures:
    with tempfile.TemporaryDirectory() as directory, quota(case.percent) as wrap:
        place = tunnelled(case.program, trust, peer, Path(directory), workers=case.workers, ingress_in=wrap)
        with place as side:
            before = cpu(side.ingress)
            new = rate(wrk(side, seconds, *EACH_NEW))
            spent = sorted(after - before.get(pid, 0.0) for pid, after in cpu(side.ingress).items())
            requests = rate(wrk(side, seconds))
    busiest = spent[-(case.workers or 1) :]
    return {"new": new, "requests": requests, "share": busiest[-1] / max(busiest[0], 0.01)}


@contextmanager
def quota(percent: int | None) -> Iterator[tuple[str, ...]]:
    """A command that runs another within ``percent`` of a core (cpu controller of cgroup v1 or v2); None: no bound."""
    if percent is None:
        yield ()
        return
    old = (_V1 / "cpu.cfs_quota_us").exists()
    group = (_V1 if old else _V2) / f"tng-bench-{os.getpid()}"
    if not old:
        (_V2 / "cgroup.subtree_control").write_text("+cpu", encoding="ascii")
    group.mkdir()
    try:
        most = percent * _PERIOD // 100
        # The quota is to be the bound, and not what else runs on the machine.
        if old:
            (group / "cpu.shares").write_text("262144", encoding="ascii")
            (group / "cpu.cfs_period_us").write_text(str(_PERIOD), encoding="ascii")
            (group / "cpu.cfs_quota_us").write_text(str(most), encoding="ascii")
        else:
            (group / "cpu.weight").write_text("10000", encoding="ascii")
            (group / "cpu.max").write_text(f"{most} {_PERIOD}", encoding="ascii")
        yield ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group / "cgroup.procs"))
    finally:
        group.rmdir()
