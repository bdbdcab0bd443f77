"""How ``tng compile`` scales: wall time and peak memory of the command, beside the time of ``nft -f`` for the result.

    .venv/bin/python bench/compile_scale.py [ITEMS...]

Needs root, for a network namespace to load into. Each figure is the median of ``RUNS`` whole commands. Items are hosts,
networks and port ranges in the proportion 8:1:1, of both families, from a fixed seed.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv6Address
from pathlib import Path

RUNS = 3
TNG = Path(sys.executable).with_name("tng")


def main() -> None:
    """Print one line a size."""
    sizes = [int(text) for text in sys.argv[1:]] or [1, 1_000, 10_000, 100_000]
    print(f"{'items':>8} {'compile s':>10} {'peak MB':>8} {'nft -f s':>9} {'ratio':>6} {'ruleset MB':>11}")
    with tempfile.TemporaryDirectory() as directory:
        for size in sizes:
            print(line(size, Path(directory)), flush=True)


def line(size: int, directory: Path) -> str:
    """Measure one size."""
    source, ruleset = directory / "config.json", directory / "ruleset.nft"
    source.write_text(json.dumps(document(size)), encoding="utf-8")
    compiled = [run([str(TNG), "compile", str(source), "--emit", "nft"], ruleset) for _ in range(RUNS)]
    loaded = [run(["unshare", "--net", "nft", "-f", str(ruleset)], None) for _ in range(RUNS)]
    seconds, load = (statistics.median(took for took, _ in runs) for runs in (compiled, loaded))
    peak = max(memory for _, memory in compiled)
    written = ruleset.stat().st_size / 1e6
    return f"{size:>8} {seconds:>10.2f} {peak:>8.0f} {load:>9.2f} {seconds / load:>6.1f} {written:>11.1f}"


def run(argv: list[str], output: Path | None) -> tuple[float, float]:
    """Run a command; seconds of wall time and megabytes of its peak resident memory (wait4(2), in kilobytes)."""
    with (output or Path(os.devnull)).open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdout=sink, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(argv)}: exit {process.returncode}")
    return took, usage.ru_maxrss / 1000


def document(size: int) -> dict[str, object]:
    """Return a configuration with ``size`` destinations."""
    chance = random.Random(1)
    verify = {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}
    items = [item(chance, number) for number in range(size)]
    return {"add_ingress": [{"netfilter": {"capture_dst": items}, "verify": verify}]}


def item(chance: random.Random, number: int) -> dict[str, object]:
    """Return one destination."""
    port = chance.randrange(1, 60_000)
    a, b, c = (chance.randrange(256) for _ in range(3))
    if number % 10 == 0:
        return {"host": f"10.{a}.{b}.0/24", "port": port}
    if number % 10 == 1:
        return {"host": f"10.{a}.{b}.{c}", "port": port, "port_end": port + 100}
    if number % 2:
        return {"host": str(IPv6Address((0xFD << 120) + chance.getrandbits(64))), "port": port}
    return {"host": f"10.{a}.{b}.{c}", "port": port}


if __name__ == "__main__":
    main()
