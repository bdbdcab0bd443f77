"""The program itself on a host of the lab: ``tng apply CONFIG`` until it serves.

Where only what a document becomes is wanted it is compiled in this process: an interpreter costs more than its work.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from tng_compiler.cli.outputs import write_directory
from tng_compiler.pipeline import compile_bytes
from tng_demo.lab import Host, LabError
from tng_demo.process import Process

TNG = str(Path(sys.prefix) / "bin" / "tng")


def apply(host: Host, config: Path, env: Mapping[str, str] | None = None) -> Process:
    """Run ``tng apply`` on ``host`` and wait until it serves; raises ``ProcessError`` if it does not."""
    process = host.start(TNG, "apply", str(config), env=env)
    process.wait_for(r"\bevent=serving\b")
    return process


def run(host: Host, config: Path, directory: Path, *options: str) -> Process:
    """The two halves by themselves: compile into ``directory``, then ``tng-runtime run`` with ``options``."""
    compile_into(config, directory)
    process = host.start(f"{TNG}-runtime", "run", *options, str(directory))
    process.wait_for(r"\bevent=serving\b")
    return process


def compile_into(config: Path, directory: Path) -> Path:
    """What ``tng compile CONFIG -o DIRECTORY`` does; returns ``directory``. Raises ``LabError`` if it has faults."""
    outcome = compile_bytes(str(config), config.read_bytes())
    if outcome.plan is None:
        raise LabError(f"{config} has faults: {outcome.found}")
    write_directory(outcome.plan, directory)
    return directory


def serve(host: Host, config: Path) -> Process:
    """As ``apply`` for whom the command does not matter, at half the cost: the runtime alone is a program."""
    return run(host, config, host.state / "compiled")


def write_config(path: Path, document: object) -> Path:
    """Write a configuration as JSON."""
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path
