"""The flow language: one line that says what is known of a connection, to a ``Flow``. What it leaves out is unknown.

``ingress tcp 10.0.0.5 -> 10.1.2.3:8080 cgroup /app.slice``, ``egress from 192.0.2.7 to local:8080``,
``udp to [2001:db8::/32]:443``, ``established egress to :8080``, ``to 10.1.2.3:8080 runtime down``. docs/explain.md has
all of it, ``flow.lark`` the grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

from lark import Lark, Token, Tree, UnexpectedInput
from lark.exceptions import UnexpectedToken

from tng_compiler.diagnostics.mistake import Mistake, MistakeError, number
from tng_compiler.explain.ends import UNKNOWN, End, end_of
from tng_compiler.explain.expected import expected
from tng_compiler.rules.tree import Protocol

Direction = Literal["ingress", "egress", "forwarded"]
Speaker = Literal["client", "service"]
Runtime = Literal["up", "down", "squatted"]

MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection by its first packet; ``None`` is unknown.

    ``cgroup`` is a path below the root, "" the root itself; ``newer``: it was made after the rules were loaded.
    ``sets`` are all of the operator's sets that the destination is in. ``established``: the connection is older than
    the rules, ``tracked`` whether connection tracking knew it, ``speaker`` whose words are the first under the rules.
    ``squatted``: somebody else has the listen port. ``interface``: the name of what a forwarded packet came by, and
    whether it is inside (``plan.interfaces``), None where that is not said.
    """

    text: str
    direction: Direction | None = None
    protocol: Protocol | None = None
    source: End = UNKNOWN
    destination: End = UNKNOWN
    cgroup: str | None = None
    newer: bool = False
    mark: int = 0
    sets: frozenset[str] | None = None
    established: bool = False
    tracked: bool | None = None
    speaker: Speaker | None = None
    runtime: Runtime = "up"
    interface: tuple[str | None, bool | None] | None = None


@cache
def _parser() -> Lark:
    grammar = files("tng_compiler.explain").joinpath("flow.lark").read_text("utf-8")
    return Lark(grammar, parser="lalr", lexer="basic", start=["start", "junk"], maybe_placeholders=False)


def parse(text: str) -> Flow | Mistake:
    """Read one flow; any text has an answer."""
    if len(text) > MOST_CHARACTERS:
        return Mistake(
            f"expected a flow of at most {MOST_CHARACTERS} characters, found {len(text)}", 0, 1, "ask for one flow"
        )
    try:
        return _read(text, _parser().parse(text, start="start"))
    except UnexpectedToken as error:
        return expected(text, error)
    except UnexpectedInput as error:
        start = max(0, getattr(error, "pos_in_stream", 0))
        return Mistake("expected a part of a flow", start, start + 1, "docs/explain.md lists the parts")
    except MistakeError as error:
        return error.mistake


def _read(text: str, tree: Tree[Token]) -> Flow:
    found: dict[str, object] = {}
    for part in tree.children:
        assert isinstance(part, Tree)
        for name, value in _values(part).items():
            if name in found:
                start, end = _span(part)
                what = {"source": "from", "destination": "to"}.get(name, name)
                raise MistakeError(Mistake(f"expected `{what}` once, found it again", start, end, "remove one of them"))
            found[name] = value
    flow = Flow(text, **found)  # type: ignore[arg-type]  # _values names the fields
    _agree(flow, tree)
    return flow


def _values(part: Tree[Token]) -> dict[str, object]:
    tokens = [child for child in part.children if isinstance(child, Token)]
    word = str(tokens[0]) if tokens else ""
    match part.data:
        case "direction" | "protocol" | "runtime" | "speaker":
            return {part.data: word}
        case "age":
            return {"established": word == "established"}
        case "tracking":
            return {"tracked": word == "tracked"}
        case "cgroup":
            path = tokens[1].strip('"').strip("/")
            return {"cgroup": path, "newer": len(tokens) > 2}
        case "mark":
            return {"mark": _mark(tokens[0])}
        case "interface":
            return {"interface": _interface(tokens[1:])}
        case "sets":
            return {"sets": frozenset(map(str, tokens[1:])) if tokens[0].type == "SET" else frozenset()}
        case "from":
            return {"source": end_of(_child(part, 0))}
        case "to":
            return {"destination": end_of(_child(part, 0))}
        case _:
            source, destination = (child for child in part.children if isinstance(child, Tree))
            return {"source": end_of(source), "destination": end_of(destination)}


def _interface(tokens: list[Token]) -> tuple[str | None, bool | None]:
    name = str(tokens[0]) if tokens[0].type == "NAME" else None
    return name, tokens[-1].type == "INSIDE" if tokens[-1].type != "NAME" else None


def _mark(token: Token) -> int:
    value = int(token, 0) if token.type == "HEX" else number(token)
    if value is None or value > 0xFFFFFFFF:
        assert token.start_pos is not None
        assert token.end_pos is not None
        message = "expected a mark of at most 32 bits (SO_MARK, socket(7)), found more"
        raise MistakeError(Mistake(message, token.start_pos, token.end_pos, "such as `mark 565`"))
    return value


def _agree(flow: Flow, tree: Tree[Token]) -> None:
    """Refuse parts that no packet has together."""

    def refuse(data: set[str], message: str, help_: str) -> None:
        part = next(child for child in reversed(tree.children) if isinstance(child, Tree) and child.data in data)
        raise MistakeError(Mistake(message, *_span(part), help_))

    source, destination = flow.source, flow.destination
    to = {"to", "ends"}
    if source.family and destination.family and source.family != destination.family:
        refuse(to | {"from"}, "expected two addresses of one family, found IPv4 and IPv6", "an address has one version")
    if flow.direction == "forwarded" and (destination.here or source.here):
        refuse(to | {"from"}, "expected addresses of other hosts, found one of this host", "leave out `forwarded`")
    if flow.direction == "forwarded" and flow.cgroup is not None:
        refuse({"cgroup"}, "expected no cgroup, found one: what is forwarded has no socket here", "leave out `cgroup`")
    if flow.interface is not None and (flow.direction not in (None, "forwarded") or flow.cgroup is not None):
        refuse(
            {"interface"},
            "expected `over` with what this host forwards, found something else",
            "leave out `over`, or say `forwarded`",
        )
    if (flow.tracked is not None or flow.speaker) and not flow.established:
        refuse(
            {"tracking", "speaker"},
            "expected `established` with it, found a new connection",
            "such as `established tracked`",
        )
    if flow.established and flow.protocol == "udp":
        refuse({"protocol"}, "expected TCP, found UDP: its packets are all new to the rules", "leave out `established`")


def _child(part: Tree[Token], index: int) -> Tree[Token]:
    child = part.children[index]
    assert isinstance(child, Tree)
    return child


def _span(part: Tree[Token]) -> tuple[int, int]:
    tokens = [
        token for token in part.scan_values(lambda value: isinstance(value, Token)) if token.start_pos is not None
    ]
    return tokens[0].start_pos or 0, tokens[-1].end_pos or 0
