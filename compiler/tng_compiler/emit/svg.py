"""The plan as a picture: the host and who is beyond it, what is captured and refused, who proves what to whom.

SVG 1.1 with a style sheet of its own: readers choose light or dark (prefers-color-scheme, Media Queries 5), and no font
is asked for by name, so that the picture is the same text everywhere. Widths are counted in characters of a monospaced
font, 7.3 units each at size 12: nothing measures text here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap

from tng_compiler.diagnostics.quoting import visible
from tng_compiler.emit import svg_doors
from tng_compiler.emit.diagram import destinations, short
from tng_compiler.emit.svg_doors import Arrow
from tng_compiler.emit.svg_style import STYLE
from tng_compiler.plan.types import Interception, Plan, PlannedDoor

WIDTH, MARGIN, LINE, PAD, HEAD = 1280, 24, 17, 12, 96
# Columns: programs and services, the capture, the far end; the gaps between them hold the labels of the arrows.
NEAR, GATE, FAR = (48, 210), (480, 220), (1030, 226)
LABEL = 27
"""Characters of a label, as many as the narrower gap holds."""
NOTE = 90
"""Characters of a note below a lane, as many as the host is wide."""
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})


def render(plan: Plan) -> str:
    """Return the picture, a lane for each entry in their order."""
    top, lanes = HEAD, []
    for entry in plan.all_entries:
        lane, height = _lane(entry, plan, top)
        lanes += lane
        top += height + MARGIN
    hosts = GATE[0] + GATE[1]
    marks = ", ".join(map(str, sorted({*plan.marks, *(door.so_mark for door in plan.doors)})))
    body = [
        f'<rect class="ground" width="{WIDTH}" height="{top + MARGIN}"/>',
        f'<rect class="host" x="{MARGIN}" y="60" width="{hosts + 4}" height="{top - 60}" rx="10"/>',
        _text(MARGIN, 34, f"tng instance {plan.instance}", "title"),
        _text(MARGIN, 50, f"configuration {plan.config_sha256[:16]}, own sockets carry mark {marks}", "small"),
        _text(NEAR[0], 82, "this host", "strong"),
        _text(FAR[0], 82, "other hosts", "strong"),
        *lanes,
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + MARGIN}" role="img">\n'
        f"<title>{_escaped(f'What instance {plan.instance} captures, and who proves what to whom')}</title>\n"
        f"<style>{STYLE}</style>\n<defs>\n{_heads()}\n</defs>\n" + "\n".join(body) + "\n</svg>\n"
    )


def _lane(entry: Interception | PlannedDoor, plan: Plan, top: int) -> tuple[list[str], int]:
    """Return the shapes of one entry and the height that they take."""
    ingress = entry.role == "ingress"
    if isinstance(entry, PlannedDoor):
        near, who, gate, notes = svg_doors.lane(entry, plan)
    else:
        near, who, notes = _arrows_near(entry), list(_who(entry)), list(_notes(entry, plan))
        gate = [f"{entry.role}, port {entry.listen_port}", f"mark {entry.so_mark}"]
    far = _arrows_far(entry)
    beyond = ["their egress" if ingress else "their ingress"]
    height = max(_stack(near), _stack(far), (len(who) + 2) * LINE + PAD, (len(gate) + 2) * LINE + PAD)
    shapes = [
        *_box(NEAR, top, height, "programs" if ingress else "services", who, "box"),
        *_box(GATE, top, height, entry.pointer, gate, "gate"),
        *_box(FAR, top, height, beyond[0], _judges(entry), "box"),
        *_drawn(near, NEAR[0] + NEAR[1], GATE[0], top, 12),
        *_drawn(far, GATE[0] + GATE[1], FAR[0], top, 40),
    ]
    below = [(kind, line) for kind, words in notes for line in _wrapped([words], NOTE)]
    for number, (kind, line) in enumerate(below):
        shapes.append(_text(NEAR[0], top + height + (number + 1) * LINE + 2, line, kind))
    return shapes, height + len(below) * LINE + 8


def _arrows_near(entry: Interception) -> list[Arrow]:
    found = tuple(short(list(destinations(entry))))
    if entry.role == "ingress":
        return [Arrow("plain", ("captured, in plaintext:", *found), left=False)]
    return [Arrow("plain", ("plaintext, after the verdict:", *found), left=True)]


def _arrows_far(entry: Interception | PlannedDoor) -> list[Arrow]:
    ingress = entry.role == "ingress"
    found = [Arrow("tunnel", ("RATS-TLS",), left=not ingress)]
    if entry.verify:
        policies = f"policies {', '.join(entry.verify.policy_ids)}"
        pins = (f"pinned to {', '.join(entry.verify.trusted_certs_paths)}",) if entry.verify.trusted_certs_paths else ()
        weak = ("TOKEN SIGNER NOT VERIFIED",) if entry.verify.skip_as_token_cert_verify else ()
        lines = (f"proves itself: {entry.verify.model}", policies, *pins, *weak)
        found.append(Arrow("proof", lines, left=True))
    if entry.attest:
        found.append(Arrow("proof", (f"proves itself: {entry.attest.model}", *_refresh(entry)), left=False))
    if not entry.verify and not entry.attest:
        found.append(Arrow("bad", ("NOBODY PROVES ANYTHING (no_ra)",), left=False))
    return found


def _refresh(entry: Interception | PlannedDoor) -> tuple[str, ...]:
    assert entry.attest
    seconds = entry.attest.refresh_interval
    return (f"anew every {seconds} s" if seconds else "anew for every handshake",)


def _who(entry: Interception) -> Iterator[str]:
    if entry.role == "egress":
        yield "for whom it arrives" + (", or is sent here" if entry.local_traffic else "")
    inside = [path for level in entry.inside for path in level.paths]
    outside = [path for level in entry.outside for path in level.paths]
    yield from short([f"only in /{path}" for path in inside])
    yield from short([f"not in /{path}" for path in outside])
    if not inside and not outside and entry.role == "ingress":
        yield "of every cgroup"
    if entry.takes is not None:
        yield "and behind this host, by"
        yield from short(list(entry.takes) or ["bridges and veth"])


def _judges(entry: Interception | PlannedDoor) -> list[str]:
    lines = []
    if entry.verify and entry.verify.service:
        lines += ["judged by", entry.verify.service.as_addr]
    if entry.attest and entry.attest.service:
        lines += ["our tokens come from", entry.attest.service.as_addr]
    return lines


def _notes(entry: Interception, plan: Plan) -> Iterator[tuple[str, str]]:
    refused: list[str] = []
    passes: list[str] = []
    (refused if entry.udp == "reject" else passes).append("UDP there" + (", but DNS" if entry.spares_dns else ""))
    if entry.role == "ingress":
        from_others = " from other interfaces" if entry.takes_forwarded else ""
        (passes if entry.forwarded == "bypass" else refused).append(f"what this host forwards there{from_others}")
    if entry.ipv6 == "reject":
        refused.append("IPv6 there")
    if entry.ipv6 == "bypass":
        passes.append("IPv6")
    refused.append("connections that are older than the rules")
    if entry.role == "egress" and not entry.local_traffic:
        passes.append("what this host sends to itself")
    yield "says-bad", f"✕ refused: {'; '.join(refused)}"
    if passes:
        yield "says-warn", f"! passes in plaintext: {'; '.join(passes)}"
    if entry.client_address == "original" and (back := plan.way_back):
        rule = f"routing rule {back.priority}, mark {back.mark:#x} to table {back.routing_table}"
        yield "small", f"dials from the client's own address; answers come back by {rule}"


def _stack(arrows: Iterable[Arrow]) -> int:
    return sum(_height(arrow) for arrow in arrows) + PAD


def _height(arrow: Arrow) -> int:
    return (len(_wrapped(arrow.lines, LABEL)) + 1) * LINE


def _drawn(arrows: Iterable[Arrow], left: int, right: int, top: int, indent: int) -> Iterator[str]:
    """Draw arrows one below the other between two columns, each under its label."""
    y = top + PAD
    for arrow in arrows:
        label = _wrapped(arrow.lines, LABEL)
        for number, line in enumerate(label):
            yield _text(left + indent, y + (number + 1) * LINE - 5, line, "label")
        at = y + len(label) * LINE + 3
        ends = (right - 4, left + 10) if arrow.left else (left + 4, right - 10)
        yield f'<path class="{arrow.kind}" marker-end="url(#{arrow.kind})" d="M{ends[0]} {at}H{ends[1]}"/>'
        y += _height(arrow)


def _box(column: tuple[int, int], top: int, height: int, title: str, lines: Iterable[str], kind: str) -> Iterator[str]:
    x, width = column
    yield f'<rect class="{kind}" x="{x}" y="{top}" width="{width}" height="{height}" rx="6"/>'
    yield _text(x + PAD, top + 22, title, "strong")
    for number, line in enumerate(_wrapped(lines, (width - 2 * PAD) * 10 // 73)):
        yield _text(x + PAD, top + 22 + (number + 1) * LINE, line, "label")


def _wrapped(lines: Iterable[str], width: int) -> list[str]:
    return [part for line in lines for part in wrap(visible(line, 200), width, break_on_hyphens=False) or [""]]


def _text(x: int, y: int, words: str, kind: str) -> str:
    return f'<text class="{kind}" x="{x}" y="{y}">{_escaped(words)}</text>'


def _escaped(words: str) -> str:
    return visible(words, 400).translate(_ENTITIES)


def _heads() -> str:
    return "\n".join(
        f'<marker id="{kind}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="9" markerHeight="9" '
        f'markerUnits="userSpaceOnUse" orient="auto"><path class="{kind}-head" d="M0 0L8 4L0 8z"/></marker>'
        for kind in ("plain", "tunnel", "proof", "bad")
    )
