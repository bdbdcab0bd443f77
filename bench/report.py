"""Medians and ratios of the rounds, as a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from bench.phases import CONNECTIONS, IDLE, Figures

# Figure, words, digits, and whether more is better.
Row = tuple[str, str, int, bool]
_ROWS: tuple[Row, ...] = (
    ("bulk_up_1", "bulk upload, 1 stream, Gbit/s", 2, True),
    ("bulk_down_1", "bulk download, 1 stream, Gbit/s", 2, True),
    ("bulk_up_8", "bulk upload, 8 streams, Gbit/s", 2, True),
    ("bulk_down_8", "bulk download, 8 streams, Gbit/s", 2, True),
    ("requests", f"keep-alive requests/s, {CONNECTIONS} connections", 0, True),
    ("requests_p50", "their latency, p50, ms", 2, False),
    ("requests_p99", "their latency, p99, ms", 2, False),
    ("connections", "new connections/s", 0, True),
    ("memory_rest_ingress", "resident memory at rest, ingress, MiB", 1, False),
    ("memory_rest_egress", "resident memory at rest, egress, MiB", 1, False),
    ("memory_idle_ingress", f"with {IDLE:,} idle connections, ingress, MiB", 1, False),
    ("memory_idle_egress", f"with {IDLE:,} idle connections, egress, MiB", 1, False),
)


def table(ours: Sequence[Figures], rust: Sequence[Figures]) -> str:
    """A Markdown table of what ``phases.measure`` returned."""
    return rows(_ROWS, ours, rust)


def rows(
    which: Sequence[Row],
    ours: Sequence[Figures],
    rust: Sequence[Figures],
    heads: tuple[str, str] = ("ours", "Rust TNG"),
) -> str:
    """A Markdown table of ``which``: medians of both, and the median of the ratios round by round."""
    lines = [f"| | {heads[0]} | {heads[1]} | ratio | worst to best round |", "|---|---:|---:|---:|---:|"]
    for name, words, digits, more in which:
        ratios = sorted(a[name] / b[name] for a, b in zip(ours, rust, strict=True))
        spread = ratios if more else ratios[::-1]
        lines.append(
            f"| {words} | {_median(ours, name):,.{digits}f} | {_median(rust, name):,.{digits}f} "
            f"| {median(ratios):.2f}x | {spread[0]:.2f}x to {spread[-1]:.2f}x |"
        )
    return "\n".join(lines)


def _median(rounds: Sequence[Mapping[str, float]], name: str) -> float:
    return median(figures[name] for figures in rounds)
