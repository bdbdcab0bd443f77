"""What happens after the capture: which way the bytes go, and who proves what to whom."""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.algebra.text import ADDRESS
from tng_compiler.emit.plan_text import attestation, demand
from tng_compiler.explain.answer import After, Proof
from tng_compiler.explain.situation import Situation
from tng_compiler.plan.types import Interception, Plan, PlannedDoor

HERE = "this host"


def after(entry: Interception, plan: Plan, situation: Situation) -> After:
    """Return what the runtime does with the connection that ``entry`` captured."""
    address = ADDRESS[situation.family](situation.destination.address)
    place = f"[{address}]:{situation.port}" if situation.family == "ipv6" else f"{address}:{situation.port}"
    if situation.destination.spans != ((int(address), int(address)),):
        place = f"its destination, port {situation.port}"
    if entry.role == "ingress":
        far = f"the egress at {place}"
        steps: tuple[str, ...] = (
            f"the runtime accepts the plaintext on port {entry.listen_port}",
            f"it dials {place} with mark {entry.so_mark}, over RATS-TLS; no byte goes before the verdict",
        )
    else:
        far = "the ingress that dials"
        steps = (
            f"the runtime accepts RATS-TLS on port {entry.listen_port}; anything else is refused",
            f"it hands the plaintext to the service at {place}, after the verdict, with mark {entry.so_mark}",
        )
        if entry.client_address == "original" and (back := plan.way_back):
            steps += (
                "it dials from the client's own address, and the answers come back by a routing rule: priority "
                f"{back.priority}, mark {back.mark:#x} to table {back.routing_table}, outside of the tables of nft",
            )
    return After(steps, tuple(proofs(entry, far)))


def proofs(entry: Interception | PlannedDoor, far: str) -> Iterator[Proof]:
    """Yield who proves what to whom, with ``far`` at the other end of the tunnel."""
    if entry.verify:
        yield Proof(far, HERE, entry.verify.model, demand(entry.verify))
    if entry.attest:
        yield Proof(HERE, far, entry.attest.model, attestation(entry.attest))
