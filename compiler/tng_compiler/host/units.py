"""Whether a unit runs the instance: who takes over from its process by hand is not of the unit, which restarts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import running
from tng_compiler.host.finding import WARNING, Finding, on_host
from tng_compiler.plan.types import Plan


def runs(plan: Plan) -> Iterator[Finding]:
    """The service whose process runs the instance, unless we are of it."""
    run = running.find(plan.instance)
    line = _cgroup(str(run.pid)) if run else ""
    unit = line.rpartition("/")[2]
    if run and unit.endswith(".service") and line != _cgroup("self"):
        yield on_host(
            Code.RUN_BY_UNIT,
            WARNING,
            f"/proc/{run.pid}/cgroup",
            line,
            f"expected an instance that nobody else starts again, found it run by {unit}",
            f"change the document of the unit and `systemctl reload {unit}`: what is applied by hand is replaced",
        )


def _cgroup(process: str) -> str:
    """The cgroup of a process in the v2 hierarchy, as the kernel writes it (cgroups(7))."""
    with suppress(OSError):
        lines = Path("/proc", process, "cgroup").read_text("utf-8", "replace").splitlines()
        return next((line for line in lines if line.startswith("0::")), "")
    return ""
