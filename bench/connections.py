"""What one connection costs: processor time, latency at rest, memory while idle; ours and the Rust TNG's by turns."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.phases import EACH_NEW, Figures, figure, one_by_one, rate, resident, wrk
from bench.report import Row, rows
from bench.sides import DIRECT_PORT, HELD_PORT, WEB_PORT, Program, Side, Trust, tunnelled
from tng_demo.process import Process

IDLE = 5000
# Of our gateways, also where there are more cores.
WORKERS = 2
_TICK = os.sysconf("SC_CLK_TCK")

_ROWS: tuple[Row, ...] = (
    ("new", "new connections/s", 0, True),
    ("cpu", "processor time of both gateways for one, us", 0, False),
    ("latency", "latency of one at rest, ms", 2, False),
    ("direct", "the same without a tunnel, ms", 2, False),
    ("rest", "memory at rest, mean of both gateways, MiB", 1, False),
    ("idle", f"memory for one of {IDLE:,} idle connections, mean of both gateways, KiB", 1, False),
)


def table(trust: Trust, rounds: int, seconds: int, peer: Path) -> str:
    """A Markdown table of ``rounds`` rounds of each program."""
    figures: dict[Program, list[Figures]] = {"ours": [], "rust": []}
    for number in range(rounds):
        for program in sorted(figures, reverse=bool(number % 2)):
            with (
                tempfile.TemporaryDirectory() as directory,
                tunnelled(program, trust, peer, Path(directory), workers=WORKERS) as side,
            ):
                figures[program].append(_measure(side, seconds))
    return rows(_ROWS, figures["ours"], figures["rust"])


def cpu(program: Process) -> dict[int, float]:
    """Seconds of processor time of each process of a program (proc_pid_stat(5), fields 14 and 15)."""
    found = {}
    for pid in program.all_pids():
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        found[pid] = (int(fields[11]) + int(fields[12])) / _TICK
    return found


def _measure(side: Side, seconds: int) -> Figures:
    gateways = (side.ingress, side.egress)
    rest = [resident(gateway) for gateway in gateways]
    request = f"GET / HTTP/1.1\r\nHost: {side.server.ipv4}\r\nConnection: close\r\n\r\n".encode()
    found = {
        "rest": sum(rest) / 2,
        "latency": one_by_one(side, (side.server.ipv4, WEB_PORT), request),
        "direct": one_by_one(side, (side.server.ipv4, DIRECT_PORT), request),
    }
    before = sum(sum(cpu(gateway).values()) for gateway in gateways)
    output = wrk(side, seconds, *EACH_NEW)
    spent = sum(sum(cpu(gateway).values()) for gateway in gateways) - before
    found["new"] = rate(output)
    found["cpu"] = spent / figure(r"(\d+) requests in", output) * 1e6
    return {**found, "idle": _idle(side)}


def _idle(side: Side) -> float:
    """KiB of one gateway for each of ``IDLE`` connections that have carried a byte each way."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = resident(side.ingress) + resident(side.egress)
    with ExitStack() as stack:
        with side.server.inside():
            listener = stack.enter_context(socket.create_server((side.server.ipv4, HELD_PORT)))
        listener.settimeout(60)
        with side.client.inside():
            for number in range(IDLE):
                try:
                    _hold(stack, side.server.ipv4, listener)
                except OSError as error:
                    said = [gateway.output()[-2000:] for gateway in (side.ingress, side.egress)]
                    raise RuntimeError(f"idle connection {number}: {error}\n" + "\n".join(said)) from error
        return (resident(side.ingress) + resident(side.egress) - before) / 2 / IDLE * 1024


def _hold(stack: ExitStack, host: str, listener: socket.socket) -> None:
    near = stack.enter_context(socket.create_connection((host, HELD_PORT), timeout=60))
    near.sendall(b"?")
    far = stack.enter_context(listener.accept()[0])
    far.settimeout(60)
    far.sendall(far.recv(1))
    near.recv(1)
