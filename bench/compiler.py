"""How ``tng`` scales with ``capture_dst``, how fast it answers, and how many items the Rust TNG takes.

Items are hosts, networks and port ranges in the proportion 8:1:1, of both families (for the Rust TNG of IPv4 alone),
from a fixed seed. Every figure is the median of whole commands, start of the interpreter included.
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
from typing import Any

from tng_demo.lab import lab
from tng_demo.process import ProcessError
from tng_demo.tunnel import write_config

RUNS = 5
SIZES = (1, 1_000, 10_000, 100_000)
ANSWERS = (0, 4, 5, 6)
"""Exit statuses of `tng explain`, each of which is an answer."""
PEER_SIZES = (1_000, 1_500, 2_000)
TNG = Path(sys.executable).with_name("tng")
EXAMPLE = Path(__file__).parents[1] / "examples" / "ingress_netfilter.json"


def tables(peer: Path) -> str:
    """The section of docs/benchmarks.md about the compiler."""
    with tempfile.TemporaryDirectory() as directory:
        check = _median([str(TNG), "check", str(EXAMPLE)])[0]
        rows = "\n".join(_row(size, Path(directory)) for size in SIZES)
        answers = "\n".join(f"- {size:,} items: {_peer(size, peer, Path(directory))}" for size in PEER_SIZES)
        questions = _questions(Path(directory))
    return (
        f"`tng check` of a small document: {check:.2f} s. {questions}\n\n"
        "| items | `tng compile` s | peak MB | `nft -f` of the result s | ratio | ruleset MB |\n"
        f"|---:|---:|---:|---:|---:|---:|\n{rows}\n\nThe Rust TNG, started with as many:\n\n{answers}"
    )


def _row(size: int, directory: Path) -> str:
    source, ruleset = directory / "config.json", directory / "ruleset.nft"
    source.write_text(json.dumps(document(size)), encoding="utf-8")
    seconds, peak = _median([str(TNG), "compile", str(source), "--emit", "nft"], ruleset)
    load, _ = _median(["unshare", "--net", "nft", "-f", str(ruleset)])
    written = ruleset.stat().st_size / 1e6
    return f"| {size:,} | {seconds:.2f} | {peak:.0f} | {load:.2f} | {seconds / load:.1f}x | {written:.1f} |"


def _questions(directory: Path) -> str:
    """What one answer costs beside a check of the same document, which it must read as well."""
    source = directory / "asked.json"
    source.write_text(json.dumps(document(SIZES[-1])), encoding="utf-8")
    check, _ = _median([str(TNG), "check", str(source)])
    explain, peak = _median([str(TNG), "explain", str(source), "to 10.1.2.3:443 cgroup /"], statuses=ANSWERS)
    size = f"{SIZES[-1]:,} items"
    differences = ", ".join(_difference(size, directory) for size in SIZES[2:])
    return (
        f"On {size}, `tng explain` takes {explain / check:.2f}x `tng check` ({explain:.2f} s, peak {peak:.0f} MB). "
        f"`tng diff` against a copy with one item in ten changed, beside one `tng compile`: {differences}."
    )


def _difference(size: int, directory: Path) -> str:
    """What it costs to compare a document with a changed copy, in compilations of one of them."""
    old, new = directory / "old.json", directory / "new.json"
    whole = document(size)
    old.write_text(json.dumps(whole), encoding="utf-8")
    new.write_text(json.dumps(_changed(whole)), encoding="utf-8")
    compiled, _ = _median([str(TNG), "compile", str(old), "--emit", "nft"])
    compared, peak = _median([str(TNG), "diff", str(old), str(new)])
    return f"{compared / compiled:.1f}x with {size:,} items ({compared:.2f} s, peak {peak:.0f} MB)"


def _changed(whole: Any) -> object:
    copy = json.loads(json.dumps(whole))
    for item in copy["add_ingress"][0]["netfilter"]["capture_dst"][::10]:
        item["port"] = item["port"] % 60_000 + 1
    return copy


def _median(argv: list[str], output: Path | None = None, statuses: tuple[int, ...] = (0,)) -> tuple[float, float]:
    runs = [_run(argv, output, statuses) for _ in range(RUNS)]
    return statistics.median(took for took, _ in runs), max(memory for _, memory in runs)


def _run(argv: list[str], output: Path | None, statuses: tuple[int, ...]) -> tuple[float, float]:
    """Run a command; seconds of wall time and megabytes of its peak resident memory (wait4(2), in kilobytes)."""
    with (output or Path(os.devnull)).open("wb") as sink:
        began = time.perf_counter()
        process = subprocess.Popen(argv, stdout=sink, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        took = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in statuses:
        raise RuntimeError(f"{' '.join(argv)}: exit {process.returncode}")
    return took, usage.ru_maxrss / 1000


def _peer(size: int, peer: Path, directory: Path) -> str:
    with lab("client", "server") as hosts:
        wanted = document(size, families=(4,), trust={"no_ra": True})
        process = hosts["client"].start(str(peer), "launch", "-c", str(write_config(directory / "peer.json", wanted)))
        try:
            process.wait_for("All services are ready", deadline=60)
        except ProcessError:
            too_long = "Argument list too long" in process.output()
            return 'ends with "Argument list too long"' if too_long else "does not start"
        return "starts"


def document(
    size: int, families: tuple[int, ...] = (4, 6), trust: dict[str, object] | None = None
) -> dict[str, object]:
    chance = random.Random(1)
    verify = {"verify": {"as_addr": "http://127.0.0.1:9/", "policy_ids": ["default"]}}
    items = [_item(chance, number, families) for number in range(size)]
    return {"add_ingress": [{"netfilter": {"capture_dst": items}, **(trust or verify)}]}


def _item(chance: random.Random, number: int, families: tuple[int, ...]) -> dict[str, object]:
    port = chance.randrange(1, 60_000)
    a, b, c = (chance.randrange(256) for _ in range(3))
    if number % 10 == 0:
        return {"host": f"10.{a}.{b}.0/24", "port": port}
    if number % 10 == 1:
        return {"host": f"10.{a}.{b}.{c}", "port": port, "port_end": port + 100}
    if number % 2 and 6 in families:
        return {"host": str(IPv6Address((0xFD << 120) + chance.getrandbits(64))), "port": port}
    return {"host": f"10.{a}.{b}.{c}", "port": port}
