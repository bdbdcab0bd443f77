"""Connections that no rule is about, and that come to a door: a listener of the runtime that captures nothing."""

from __future__ import annotations

from tng_compiler.explain.after import proofs
from tng_compiler.explain.answer import After, Fate
from tng_compiler.explain.ends import LOOPBACK
from tng_compiler.explain.open_parts import World
from tng_compiler.explain.situation import Situation
from tng_compiler.plan.doorways import Doorway
from tng_compiler.rules.decide import Decision

FATES: dict[str, Fate] = {"up": "taken", "down": "refused", "squatted": "passed"}
"""Of what comes to a door by what has its port: the runtime, nobody, or somebody else."""


def door_of(world: World, situation: Situation, decision: Decision) -> Doorway | None:
    """Return what a new connection comes to, None if that is no door."""
    arrives = situation.way in ("in", "within") and situation.protocol == "tcp" and not situation.established
    if not arrives or decision.fate != "passed":
        return None
    address = situation.destination.address
    first, last = LOOPBACK[situation.family]
    if situation.way == "in" and first <= address <= last:
        return None
    return next((door for door in world.doors if door.holds(situation.family, address, situation.port)), None)


def reason(door: Doorway, situation: Situation) -> str:
    """Say what becomes of it, and why."""
    where = f"{door.host} port {situation.port}"
    if situation.runtime == "down":
        return f"the door on {where} is shut, nobody listens there: the host resets it"
    if situation.runtime == "squatted":
        return f"somebody else has {where}, where a door would be: no rule is about it"
    return f"no rule is about it: it comes to a door of the runtime on {where} ({door.kind})"


def after(door: Doorway, situation: Situation) -> After:
    """Return what the runtime does with it."""
    entry, there = door.door, door.leads(situation.port)
    if entry.role == "ingress":
        first = (
            "the runtime accepts the plaintext" if door.rule else f"the program says by {door.kind} where it wants to"
        )
        far = f"the egress at {there}" if door.rule else "the egress there"
        steps = (
            f"{first}, on {door.host} port {situation.port}",
            f"the runtime dials {there} with mark {entry.so_mark}, over RATS-TLS; no byte goes before the verdict",
            *(("what no filter takes LEAVES IN PLAINTEXT (unmatched: direct)",) if door.open else ()),
        )
        return After(steps, tuple(proofs(entry, far)))
    steps = (
        f"the runtime accepts RATS-TLS on {door.host} port {situation.port}; anything else is refused",
        f"it hands the plaintext to the service at {there}, after the verdict, with mark {entry.so_mark}",
    )
    return After(steps, tuple(proofs(entry, "the ingress that dials")))
