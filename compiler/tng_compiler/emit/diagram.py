"""The plan as a Mermaid flowchart: the host, what is captured on its way, and who proves what to whom.

https://mermaid.js.org/syntax/flowchart.html. Labels are quoted; quotes and angle brackets in them become entities.
"""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.algebra.space import Box, Family
from tng_compiler.algebra.text import ADDRESS, ports_text
from tng_compiler.plan.doorways import Doorway, doorways
from tng_compiler.plan.types import Interception, Plan, PlannedDoor

MOST_LINES = 6
_ENTITIES = str.maketrans({"&": "#amp;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "|": "#124;"})


def render(plan: Plan) -> str:
    """Return the diagram, one subgraph for the host and a pair of far ends for each entry."""
    inside = [line for entry in plan.entries for line in _nodes(entry)]
    outside = [line for entry in plan.entries for line in _edges(entry)]
    for number, door in enumerate(plan.doors):
        node, *edges = _door(f"door_{number}", door, [way for way in doorways(plan) if way.door is door])
        inside.append(node)
        outside += edges
    lines = [
        "flowchart LR",
        f"  %% instance {plan.instance}, configuration {plan.config_sha256}",
        '  subgraph host["this host"]',
        *(f"    {line}" for line in inside),
        "  end",
        *(f"  {line}" for line in outside),
    ]
    return "\n".join(lines) + "\n"


def _nodes(entry: Interception) -> Iterator[str]:
    near = "programs" if entry.role == "ingress" else "services"
    cgroups = [f"in {path}" for level in entry.inside for path in level.paths]
    cgroups += [f"not in {path}" for level in entry.outside for path in level.paths]
    yield f"{entry.name}_app[{_label(near, *short(cgroups))}]"
    if entry.takes is not None:
        cgroups.append(f"and behind {', '.join(entry.takes[:3]) or 'bridges and veth'}")
    where = f"port {entry.listen_port}, mark {entry.so_mark}"
    yield f"{entry.name}[[{_label(f'{entry.role} {entry.pointer}', where)}]]"


def _edges(entry: Interception) -> Iterator[str]:
    name, captured = entry.name, short(list(destinations(entry)))
    if entry.role == "ingress":
        yield f"{name}_app -->|{_label('captured:', *captured)}| {name}"
        yield f"{name} ==>|{_label('RATS-TLS')}| {name}_peer({_label('their egress')})"
    else:
        tunnel = _label("RATS-TLS", "to what is captured:", *captured)
        yield f"{name}_peer({_label('their ingress')}) ==>|{tunnel}| {name}"
        yield f"{name} -->|{_label('plaintext')}| {name}_app"
    yield from _proofs(name, entry)


def _proofs(name: str, entry: Interception | PlannedDoor) -> Iterator[str]:
    """Who proves what to whom, and who is asked about it."""
    if entry.attest:
        yield f"{name} -.->|{_label('proves itself', entry.attest.model)}| {name}_peer"
    if entry.verify:
        policies = f"policies {', '.join(entry.verify.policy_ids)}"
        yield f"{name}_peer -.->|{_label('proves itself', entry.verify.model, policies)}| {name}"
    if not entry.attest and not entry.verify:
        yield f"{name} -.-|{_label('nobody proves anything')}| {name}_peer"
    if entry.verify and entry.verify.service:
        yield f"{name} -->|{_label('asks')}| {name}_judge[({_label(entry.verify.service.as_addr)})]"
    if entry.attest and entry.attest.service:
        yield f"{name} -->|{_label('gets tokens')}| {name}_issuer[({_label(entry.attest.service.as_addr)})]"


def _door(name: str, door: PlannedDoor, ways: list[Doorway]) -> Iterator[str]:
    """Yield its node and its edges. Who connects to it may be anywhere, so that it has the ports alone."""
    ports = short([f"{way.host} {ports_text(way.box.ports)}" for way in ways])
    there = short(list(dict.fromkeys(way.whole for way in ways)))
    yield f"{name}[[{_label(f'{door.role} {door.pointer}', *{way.kind for way in ways}, *ports)}]]"
    if door.role == "ingress":
        yield f"{name} ==>|{_label('RATS-TLS', *there)}| {name}_peer({_label('their egress')})"
    else:
        yield f"{name}_peer({_label('their ingress')}) ==>|{_label('RATS-TLS')}| {name}"
        yield f"{name} -->|{_label('plaintext', *there)}| {name}_app({_label('service')})"
    yield from _proofs(name, door)


def destinations(entry: Interception) -> Iterator[str]:
    """Yield what the entry captures, and what it resets, one line each."""
    for verb, regions, sets in (
        ("", entry.captured, entry.captured_sets),
        ("reset: ", entry.rejected, entry.rejected_sets),
    ):
        for region in regions:
            yield from (f"{verb}any {region.family} {ports_text(ports)}" for ports in region.ports)
            yield from (f"{verb}{_box(region.family, box)}" for box in region.boxes[: MOST_LINES + 1])
        yield from (f"{verb}set {group.name} {ports_text(ports)}" for group in sets for ports in group.ports)


def _box(family: Family, box: Box) -> str:
    address = ADDRESS[family]
    span = str(address(box.first)) if box.first == box.last else f"{address(box.first)} to {address(box.last)}"
    return f"{span} {ports_text(box.ports)}"


def short(lines: list[str]) -> list[str]:
    """Return at most ``MOST_LINES`` lines, the last of which says that there are more."""
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "and more"]


def _label(*lines: str) -> str:
    return f'"{"<br/>".join(line.translate(_ENTITIES) for line in lines)}"'
