"""What it costs that the service sees its clients: ``client_address`` original and tunnel, ours alone, by turns."""

from __future__ import annotations

import tempfile
from pathlib import Path

from bench.phases import EACH_NEW, Figures, bulk, figure, wrk
from bench.report import Row, rows
from bench.sides import Trust, tunnelled

_RATE = r"Requests/sec:\s+([\d.]+)"
_ROWS: tuple[Row, ...] = (
    ("bulk_up", "bulk upload, 1 stream, Gbit/s", 2, True),
    ("bulk_down", "bulk download, 1 stream, Gbit/s", 2, True),
    ("requests", "keep-alive requests/s, 32 connections", 0, True),
    ("connections", "new connections/s", 0, True),
)


def table(trust: Trust, rounds: int, seconds: int, peer: Path) -> str:
    """A Markdown table of ``rounds`` rounds of each."""
    figures: dict[str, list[Figures]] = {"original": [], "tunnel": []}
    for number in range(rounds):
        for address in sorted(figures, reverse=bool(number % 2)):
            with (
                tempfile.TemporaryDirectory() as directory,
                tunnelled("ours", trust, peer, Path(directory), arriving={"client_address": address}) as side,
            ):
                figures[address].append(
                    {
                        **bulk(side, seconds),
                        "requests": figure(_RATE, wrk(side, seconds)),
                        "connections": figure(_RATE, wrk(side, seconds, *EACH_NEW)),
                    }
                )
    return rows(_ROWS, figures["original"], figures["tunnel"], ("original", "tunnel"))
