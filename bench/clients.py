"""What it costs that the service sees its clients: ``client_address`` original and tunnel, ours alone, by turns."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.phases import EACH_NEW, Figures, bulk, rate, wrk
from bench.report import Row, rows
from bench.sides import Side, Trust, tunnelled

_ROWS: tuple[Row, ...] = (
    ("bulk_up", "bulk upload, 1 stream, Gbit/s", 2, True),
    ("bulk_down", "bulk download, 1 stream, Gbit/s", 2, True),
    ("requests", "keep-alive requests/s, 32 connections", 0, True),
    ("connections", "new connections/s", 0, True),
)


def table(trust: Trust, rounds: int, seconds: int, peer: Path) -> str:
    """A Markdown table of ``rounds`` rounds of each; both stand all the time, so that rounds are short and close."""
    figures: dict[str, list[Figures]] = {"original": [], "tunnel": []}
    with ExitStack() as stack:
        sides = {}
        for address in figures:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            arriving = {"client_address": address}
            sides[address] = stack.enter_context(tunnelled("ours", trust, peer, directory, arriving=arriving))
        for number in range(rounds):
            for address in sorted(figures, reverse=bool(number % 2)):
                figures[address].append(_measure(sides[address], seconds))
    return rows(_ROWS, figures["original"], figures["tunnel"], ("original", "tunnel"))


def _measure(side: Side, seconds: int) -> Figures:
    return {
        **bulk(side, seconds),
        "requests": rate(wrk(side, seconds)),
        "connections": rate(wrk(side, seconds, *EACH_NEW)),
    }
