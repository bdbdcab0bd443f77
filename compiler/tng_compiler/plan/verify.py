"""The plan, checked against what must hold whatever the user wrote: a failure here is a bug of ours, never a diagnostic."""

from __future__ import annotations

from tng_compiler.plan.types import Plan


class PlanBug(Exception):
    """An invariant of the plan does not hold. The message is for a bug report."""


def verify(plan: Plan) -> None:
    """Raise ``PlanBug`` if the plan would capture wrongly."""
    ports = [entry.listen_port for entry in plan.entries]
    if len(set(ports)) != len(ports):
        raise PlanBug(f"two entries share a listen port: {ports}")
