"""``python -m bench.soak``: mixed traffic through a tunnel; memory and descriptors stay flat, no byte is wrong.

Both gateways prove and verify. Ends with 1 and the reasons if something is not as it must be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.sides import Side, tunnelled
from bench.traffic import Clients, greet, serve
from tng_demo import tunnel
from tng_demo.lab import Host
from tng_demo.process import Process

PORTS = (8084, 8085)
SAMPLE_SECONDS = 2.0
# After the first third nothing may grow by more than this part and this much: caches and arenas have filled by then.
GROWTH, GROWTH_BYTES = 0.25, 24 << 20
SPARE_DESCRIPTORS = 64


@dataclass(frozen=True, slots=True)
class Sample:
    """Of all processes of one gateway: resident memory in bytes, open descriptors."""

    memory: int
    descriptors: int


def main() -> int:
    """Run it, print what happened, and say what is wrong."""
    parser = argparse.ArgumentParser(description="Mixed traffic for long, as root.")
    parser.add_argument("--short", action="store_true", help="two minutes, 300 connections")
    parser.add_argument("--seconds", type=float, help="how long (1200)")
    parser.add_argument("--connections", type=int, help="at a time, half of them long-lived (2000)")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds before who has ended begins again (0)")
    options = parser.parse_args()
    seconds = options.seconds or (120.0 if options.short else 1200.0)
    connections = options.connections or (300 if options.short else 2000)
    wrong = soak(seconds, connections, print, options.pause)
    print("\n".join(wrong) or "nothing is wrong")
    return int(bool(wrong))


def soak(seconds: float, connections: int, tell: Callable[[str], object], pause: float = 0.0) -> list[str]:
    """Return what was wrong after ``seconds`` with that many connections at a time."""
    files = 8 * connections + 1024
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(files, hard), hard))
    with (
        tempfile.TemporaryDirectory() as directory,
        tunnelled("ours", "attested", Path(), Path(directory), ports=PORTS) as side,
        _servers(side.server),
    ):
        return _run(side, seconds, connections, tell, pause)


def _run(side: Side, seconds: float, connections: int, tell: Callable[[str], object], pause: float) -> list[str]:
    gateways = {"ingress": side.ingress, "egress": side.egress}
    idle = {name: _sample(run) for name, run in gateways.items()}
    samples: dict[str, list[Sample]] = {name: [] for name in gateways}
    began = time.monotonic()
    clients = Clients(side.server.ipv4, PORTS, began + seconds, pause)
    driver = threading.Thread(target=_drive, args=(side.client, clients, connections))
    driver.start()
    while driver.is_alive():
        driver.join(min(SAMPLE_SECONDS, seconds / 10))
        if time.monotonic() < began + seconds:
            for name, run in gateways.items():
                samples[name].append(_sample(run))
    tell(f"{time.monotonic() - began:.0f} s, done: {dict(sorted(clients.tally.done.items()))}")
    if clients.tally.wrong:
        for name, run in gateways.items():
            lines = re.findall(r".*event=(?:refused|bug).*|.*ending=(?!plain_|tls_).*", run.output())
            for line in lines[-8:]:
                tell(f"{name}: {line}")
    wrong = [f"{len(clients.tally.wrong)} connections went wrong: {line}" for line in clients.tally.wrong[:10]]
    wrong += [f"no connection of kind {kind} was made" for kind in _KINDS if not clients.tally.done[kind]]
    hosts = {"ingress": side.client, "egress": side.server}
    for name, run in gateways.items():
        wrong += _flat(name, samples[name], tell)
        wrong += _ended(name, hosts[name], run, idle[name], tell)
    return wrong


_KINDS = ("short", "half_closed", "reset", "slow_reader", "server_first", "urgent", "long")


def _flat(name: str, samples: list[Sample], tell: Callable[[str], object]) -> list[str]:
    if len(samples) < 6:
        return [f"{name}: only {len(samples)} samples"]
    third = len(samples) // 3
    early, late = samples[third : 2 * third], samples[-third:]
    before, after = max(each.memory for each in early), max(each.memory for each in late)
    opened = max(each.descriptors for each in early), max(each.descriptors for each in late)
    tell(f"{name}: memory {before >> 20} MiB, later {after >> 20} MiB; descriptors {opened[0]}, later {opened[1]}")
    wrong = []
    if after > before * (1 + GROWTH) + GROWTH_BYTES:
        wrong.append(f"{name}: memory grew from {before >> 20} MiB to {after >> 20} MiB")
    if opened[1] > opened[0] * (1 + GROWTH) + SPARE_DESCRIPTORS:
        wrong.append(f"{name}: descriptors grew from {opened[0]} to {opened[1]}")
    return wrong


def _ended(name: str, host: Host, run: Process, idle: Sample, tell: Callable[[str], object]) -> list[str]:
    """Everything that was open is closed in the end, by the gateway's own account and the kernel's."""
    end = time.monotonic() + 60
    while True:
        said = status(host)
        left = sum(entry["open"] for entry in said["entries"])
        descriptors = _sample(run).descriptors
        if left == 0 and descriptors <= idle.descriptors + SPARE_DESCRIPTORS:
            break
        if time.monotonic() > end:
            return [f"{name}: {left} connections are open in the end, {descriptors} descriptors of {idle.descriptors}"]
        time.sleep(0.5)
    for entry in said["entries"]:
        tell(f"{name}: closed {entry['closed']}, refused {entry['refused']}, left {entry['left']}")
    bugs = sum(entry["bugs"] for entry in said["entries"])
    return [*([f"{name}: {bugs} bugs"] if bugs else []), *(f"{name}: {line}" for line in said["problems"])]


def status(host: Host) -> dict[str, Any]:
    """What ``tng status`` says of the one instance of ``host``."""
    done = host.run(tunnel.TNG, "status", "--format", "json", check=False)
    (said,) = json.loads(done.stdout)["instances"]
    assert isinstance(said, dict)
    return said


def _sample(run: Process) -> Sample:
    memory = descriptors = 0
    for pid in run.all_pids():
        with contextlib.suppress(OSError, IndexError):
            pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
            memory += pages * resource.getpagesize()
            descriptors += len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(memory, descriptors)


def _drive(host: Host, clients: Clients, connections: int) -> None:
    with host.inside():
        asyncio.run(clients.run(connections - connections // 2, connections // 2))


@contextlib.contextmanager
def _servers(host: Host) -> Iterator[None]:
    """Both servers, in a process of their own."""
    process = host.start(sys.executable, "-m", "bench.soak_server", *map(str, PORTS))
    for port in PORTS:
        host.wait_for_port(port)
    try:
        yield
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.stop()


async def servers(ports: list[int]) -> None:
    """Serve for ever."""
    listening = [
        await asyncio.start_server(act, "0.0.0.0", port, backlog=4096)
        for act, port in zip((serve, greet), ports, strict=True)
    ]
    await asyncio.gather(*(each.serve_forever() for each in listening))


if __name__ == "__main__":
    sys.exit(main())
