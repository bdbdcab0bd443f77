"""Regions and fates for programs: values of JSON."""

from __future__ import annotations

from tng_compiler.regions.fates import Fate
from tng_compiler.regions.flow import endpoint, witness
from tng_compiler.regions.solve import Region

MOST_ROWS = 100


def fate_json(fate: Fate) -> dict[str, object]:
    """Return a fate."""
    return {"fate": fate.kind, "entry": fate.entry or None, "why": fate.why or None}


def region_json(region: Region) -> dict[str, object]:
    """Return a region: its first rows, how many there are, its size as text (IPv6 is beyond doubles), a witness."""
    return {
        "family": region.family,
        "cgroups": None if region.cgroups is None else [f"/{path}" for path in region.cgroups],
        "interfaces": None if region.interfaces is None else list(region.interfaces),
        "sets": dict(region.sets),
        "size": str(region.size),
        "ranges": len(region.rows),
        "to": [
            {
                "first": endpoint(region.family, first).strip("[]"),
                "last": endpoint(region.family, last).strip("[]"),
                "ports": [list(pair) for pair in ports[:MOST_ROWS]],
            }
            for first, last, ports in region.rows[:MOST_ROWS]
        ],
        "witness": str(witness(region)),
    }
