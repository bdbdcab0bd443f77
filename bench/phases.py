"""What is measured: each phase drives stock programs through a serving tunnel and returns named figures."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

from bench.sides import IPERF_PORT, WEB_PORT, Side
from tng_demo.process import Process

Figures = dict[str, float]

CONNECTIONS = 32
IDLE = 1000
REQUEST_SECONDS = 10
ONE_BY_ONE = 200
# For wrk: every request on a connection of its own.
EACH_NEW = ("-H", "Connection: close")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


def measure(side: Side, seconds: int) -> Figures:
    """All figures of one round: Gbit/s, requests/s, ms, connections/s and MiB."""
    return {
        **_memory(side, "rest"),
        **_bulk(side, seconds),
        **_requests(side, seconds),
        **_new_connections(side, seconds),
        **_idle(side),
    }


def _bulk(side: Side, seconds: int) -> Figures:
    found = {streams: bulk(side, seconds, streams) for streams in (1, 8)}
    return {f"{name}_{streams}": value for streams, figures in found.items() for name, value in figures.items()}


def bulk(side: Side, seconds: int, streams: int = 1, at: tuple[str, int] | None = None) -> Figures:
    """Gbit/s up and down, to where iperf3 listens or to a door that leads there."""
    host, port = at or (side.server.ipv4, IPERF_PORT)
    figures: Figures = {}
    for direction, flags in (("up", ()), ("down", ("-R",))):
        command = ["iperf3", "-c", host, "-p", str(port), "-t", str(seconds), "-O", "1", "-J"]
        answer = json.loads(side.client.run(*command, "-P", str(streams), *flags).stdout)
        figures[f"bulk_{direction}"] = answer["end"]["sum_received"]["bits_per_second"] / 1e9
    return figures


def _requests(side: Side, seconds: int) -> Figures:
    # wrk fills up what it could not ask while it waited (its stats_correct), so in a short run the handshakes of its
    # 32 connections, all at once, would be the p99.
    output = wrk(side, max(seconds, REQUEST_SECONDS))
    return {
        "requests": rate(output),
        "requests_p50": _latency("50%", output),
        "requests_p99": _latency("99%", output),
    }


def _new_connections(side: Side, seconds: int) -> Figures:
    return {"connections": rate(wrk(side, seconds, *EACH_NEW))}


def _idle(side: Side) -> Figures:
    """Memory with open connections, each of which has carried one request, so that its handshake is over."""
    request = f"GET / HTTP/1.1\r\nHost: {side.server.ipv4}\r\n\r\n".encode()
    with side.client.inside():
        opened = [socket.create_connection((side.server.ipv4, WEB_PORT), timeout=30) for _ in range(IDLE)]
    try:
        for connection in opened:
            connection.sendall(request)
        for connection in opened:
            if not connection.recv(4096).startswith(b"HTTP/1.1 200"):
                raise RuntimeError("an idle connection did not get its answer")
        return _memory(side, "idle")
    finally:
        for connection in opened:
            connection.close()


def _memory(side: Side, state: str) -> Figures:
    return {
        f"memory_{state}_ingress": resident(side.ingress),
        f"memory_{state}_egress": resident(side.egress),
    }


def resident(program: Process, without: Sequence[int] = ()) -> float:
    """Memory of all processes of a program in MiB, what they share counted once (Pss, proc_pid_smaps(5))."""
    pids = [pid for pid in program.all_pids() if pid not in without]
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii") for pid in pids]
    return sum(figure(r"(?m)^Pss:\s+(\d+) kB", rollup) for rollup in rollups) / 1024


def wrk(side: Side, seconds: int, *flags: str, url: str | None = None) -> str:
    """What wrk prints of requests to the server, or to the ``url`` of a door; raises ``RuntimeError`` if one failed."""
    url = url or f"http://{side.server.ipv4}:{WEB_PORT}/"
    output = side.client.run("wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}", "--latency", *flags, url).stdout
    if "Non-2xx" in output or "Socket errors" in output:
        raise RuntimeError(f"requests failed:\n{output}")
    return output


def rate(output: str) -> float:
    """Requests a second, of what wrk printed."""
    return figure(r"Requests/sec:\s+([\d.]+)", output)


def one_by_one(
    side: Side, place: tuple[str, int], request: bytes, ask: Callable[[socket.socket], None] | None = None
) -> float:
    """Milliseconds from connect to the answer's first byte, one connection after the other; ``ask`` goes before."""
    took = []
    with side.client.inside():
        for _ in range(ONE_BY_ONE):
            began = time.perf_counter()
            with socket.create_connection(place, timeout=30) as connection:
                if ask is not None:
                    ask(connection)
                connection.sendall(request)
                if not (answer := connection.recv(4096)).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError(f"the answer is {answer!r}")
                took.append(time.perf_counter() - began)
    return median(took) * 1000


def figure(pattern: str, text: str) -> float:
    """The number that ``pattern`` finds in the output of a program."""
    found = re.search(pattern, text)
    if found is None:
        raise RuntimeError(f"no {pattern} in:\n{text}")
    return float(found[1])


def _latency(percentile: str, output: str) -> float:
    found = re.search(rf"{percentile}\s+([\d.]+)(us|ms|s)\b", output)
    if found is None:
        raise RuntimeError(f"no {percentile} in:\n{output}")
    return float(found[1]) * _UNITS[found[2]]
