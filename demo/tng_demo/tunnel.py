"""The program itself on a host of the lab: ``tng apply CONFIG`` until it serves."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tng_demo.lab import Host
from tng_demo.process import Process

TNG = str(Path(sys.prefix) / "bin" / "tng")


def apply(host: Host, config: Path, env: Mapping[str, str] | None = None) -> Process:
    """Run ``tng apply`` on ``host`` and wait until it serves; raises ``ProcessError`` if it does not."""
    process = host.start(TNG, "apply", str(config), env=env)
    process.wait_for(r"\bevent=serving\b")
    return process


def run(host: Host, config: Path, directory: Path, *options: str) -> Process:
    """The two halves by themselves: ``tng compile`` into ``directory``, then ``tng-runtime run`` with ``options``."""
    host.run(TNG, "compile", str(config), "-o", str(directory))
    process = host.start(f"{TNG}-runtime", "run", *options, str(directory))
    process.wait_for(r"\bevent=serving\b")
    return process


def write_config(path: Path, document: object) -> Path:
    """Write a configuration as JSON."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path
