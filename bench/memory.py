"""Memory of an instance after its start, all processes together, by the number of its capture entries."""

from __future__ import annotations

import time
from pathlib import Path

from bench.compiler import document
from bench.phases import resident
from tng_demo import tunnel
from tng_demo.lab import lab

SIZES = (1, 10_000, 100_000)
WORKERS = 2


def table() -> str:
    """A Markdown table."""
    lines = ["| capture entries | memory after the start, 2 workers, MiB | of the supervisor and the nursery |"]
    lines += ["|---:|---:|---:|", *(_row(size) for size in SIZES)]
    return "\n".join(lines)


def _row(size: int) -> str:
    with lab("client", "server") as hosts:
        host = hosts["client"]
        path = tunnel.write_config(host.state / "config.json", document(size, trust={"no_ra": True}))
        process = host.start(tunnel.TNG, "apply", str(path), "--", "--workers", str(WORKERS))
        process.wait_for(r"\bevent=serving\b", deadline=120)
        # What the first looks at itself leave behind counts, too.
        time.sleep(5)
        names = {pid: Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip() for pid in process.all_pids()}
        children = [pid for pid, name in names.items() if name in ("tng-judge", "tng-worker")]
        return f"| {size:,} | {resident(process):.1f} | {resident(process, without=children):.1f} |"
