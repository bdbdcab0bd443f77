"""The language of patterns: text to a predicate over kinds of traffic, and to what the cut must tell apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_network
from typing import Any

from lark import Lark, Token, Transformer, UnexpectedInput
from lark.exceptions import VisitError

from tng_compiler.algebra.space import EVERY_PORT, Family
from tng_compiler.diagnostics.mistake import number
from tng_compiler.diagnostics.quoting import quote
from tng_compiler.find.mistakes import PatternError, unexpected
from tng_compiler.plan import names
from tng_compiler.plan.types import Plan
from tng_compiler.regions.fates import State, Way
from tng_compiler.regions.solve import Named, View

GRAMMAR = r"""
?start: either
?either: both (_OR both)*
?both: single (_AND single)*
?single: _NOT single -> negated
    | "(" either ")"
    | word
word: FATE [_BY POINTER] -> fate
    | PROTOCOL -> protocol
    | FAMILY -> family
    | DIRECTION -> direction
    | AGE -> age
    | _RUNTIME STATE -> runtime
    | PROOF -> proof
    | _TO TARGET -> to
    | _PORT PORTS -> port
    | _CGROUP PATH -> cgroup
    | _OVER INTERFACE -> over
    | _IN _SET NAME -> in_set

FATE: /(captured|taken|passed|refused)\b/
PROTOCOL: /(tcp|udp)\b/
FAMILY: /(ipv4|ipv6)\b/
DIRECTION: /(ingress|egress|forwarded|local)\b/
AGE: /(new|established)\b/
STATE: /(up|down)\b/
PROOF: /(verified|attested|no_ra)\b/
_OR: /or\b/
_AND: /and\b/
_NOT: /not\b/
_BY: /by\b/
_RUNTIME: /runtime\b/
_TO: /to\b/
_PORT: /port\b/
_CGROUP: /cgroup\b/
_OVER: /over\b/
_IN: /in\b/
_SET: /set\b/
POINTER: /\/add_(in|e)gress\/[0-9]+/
TARGET: /[0-9a-fA-F.:]*[0-9a-fA-F:][0-9a-fA-F.:]*(\/[0-9]+)?(:[0-9]+)?|\[[0-9a-fA-F.:]+\](\/[0-9]+)?(:[0-9]+)?/
PORTS: /[0-9]+(-[0-9]+)?/
INTERFACE: /[A-Za-z0-9_.@-]+\*?/
PATH: /\/[^\s()]*/
NAME: /[A-Za-z_][A-Za-z0-9_.-]*/
%ignore /[ \t\r\n]+/
"""

MOST_NESTED = 100
Predicate = Callable[[View], bool]
_DIRECTIONS: dict[str, tuple[Way, ...]] = {
    "ingress": ("out",), "egress": ("in",), "forwarded": ("through",), "local": ("within",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pattern:
    """``holds`` tells for a kind of traffic, cut by ``named``.

    ``states`` are those that it is about: new connections while the runtime lives, unless it names others.
    """

    holds: Predicate
    named: Named
    states: tuple[State, ...]


def parse(text: str, plan: Plan) -> Pattern:
    """Read a pattern about ``plan``; raises ``PatternError``."""
    try:
        tree = _parser().parse(text)
        _bounded(tree)
        reader = _Reader(plan)
        holds = reader.transform(tree)
    except VisitError as error:
        if isinstance(error.orig_exc, PatternError):
            raise error.orig_exc from None
        raise
    except UnexpectedInput as error:
        raise unexpected(text, error) from None
    named = Named(tuple(reader.boxes), tuple(reader.cgroups), tuple(reader.sets), tuple(reader.interfaces))
    ages = (False, True) if "age" in reader.states else (False,)
    runtimes = (False, True) if "runtime" in reader.states else (False,)
    return Pattern(holds, named, tuple(State(established, down) for established in ages for down in runtimes))


def _bounded(tree: Any) -> None:
    """Refuse what is nested more deeply than a walk over it may recurse."""
    left = [(tree, 0)]
    while left:
        node, depth = left.pop()
        if isinstance(node, Token) and depth > MOST_NESTED:
            raise PatternError(f"expected at most {MOST_NESTED} of `not` and `(` in each other, found more", _at(node))
        left += ((child, depth + 1) for child in reversed(getattr(node, "children", ())))


@cache
def _parser() -> Lark:
    return Lark(GRAMMAR, parser="lalr", lexer="contextual")


class _Reader(Transformer[Token, Any]):
    """Makes predicates, and notes what they name."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._entries = {entry.pointer: entry for entry in plan.all_entries}
        self._known_sets = {group.name for group in plan.operator_sets}
        self.boxes: list[tuple[Family | None, int, int, int, int]] = []
        self.cgroups: list[str] = []
        self.sets: list[str] = []
        self.interfaces: list[str] = []
        self.states: set[str] = set()

    def either(self, parts: list[Predicate]) -> Predicate:
        return lambda view: any(part(view) for part in parts)

    def both(self, parts: list[Predicate]) -> Predicate:
        return lambda view: all(part(view) for part in parts)

    def negated(self, parts: list[Predicate]) -> Predicate:
        return lambda view: not parts[0](view)

    def fate(self, parts: list[Token | None]) -> Predicate:
        kind, pointer = parts
        if pointer is not None and str(pointer) not in self._entries:
            raise PatternError(f"expected an entry of the document, found {pointer}, which is none", _at(pointer))
        return lambda view: view.fates[0].kind == kind and (pointer is None or view.fates[0].entry == str(pointer))

    def protocol(self, parts: list[Token]) -> Predicate:
        return lambda view: view.protocol == parts[0]

    def family(self, parts: list[Token]) -> Predicate:
        return lambda view: view.family == parts[0]

    def direction(self, parts: list[Token]) -> Predicate:
        ways = _DIRECTIONS[parts[0]]
        return lambda view: view.way in ways

    def age(self, parts: list[Token]) -> Predicate:
        self.states.add("age")
        return lambda view: view.state.established == (parts[0] == "established")

    def runtime(self, parts: list[Token]) -> Predicate:
        self.states.add("runtime")
        return lambda view: view.state.down == (parts[0] == "down")

    def proof(self, parts: list[Token]) -> Predicate:
        what = str(parts[0])

        def proven(view: View) -> bool:
            carried = view.fates[0].kind in ("captured", "taken")
            entry = self._entries.get(view.fates[0].entry) if carried else None
            if entry is None:
                return False
            if what == "no_ra":
                return entry.verify is None and entry.attest is None
            return (entry.verify if what == "verified" else entry.attest) is not None

        return proven

    def to(self, parts: list[Token]) -> Predicate:
        return self._inside(_target(parts[0]))

    def port(self, parts: list[Token]) -> Predicate:
        return self._inside((None, 0, 0, *_ports(parts[0], str(parts[0]))))

    def _inside(self, box: tuple[Family | None, int, int, int, int]) -> Predicate:
        number = len(self.boxes)
        self.boxes.append(box)
        return lambda view: number in view.boxes

    def cgroup(self, parts: list[Token]) -> Predicate:
        path = parts[0].strip("/")
        if not path:
            raise PatternError("expected a cgroup, found the root, which holds every one", _at(parts[0]))
        number = len(self.cgroups)
        self.cgroups.append(path)
        return lambda view: number in view.cgroups

    def over(self, parts: list[Token]) -> Predicate:
        number = len(self.interfaces)
        self.interfaces.append(str(parts[0]))
        return lambda view: number in view.interfaces

    def in_set(self, parts: list[Token]) -> Predicate:
        both = (names.operator(parts[0], "ipv4"), names.operator(parts[0], "ipv6"))
        if not self._known_sets & set(both):
            raise PatternError(f"expected a set of the document, found {quote(parts[0])}, which is none", _at(parts[0]))
        self.sets += [name for name in both if name not in self.sets]
        return lambda view: names.operator(parts[0], view.family) in view.sets


def _at(token: Token) -> int:
    return token.start_pos or 0


def _target(token: Token) -> tuple[Family, int, int, int, int]:
    text = str(token)
    ports = (EVERY_PORT.first, EVERY_PORT.last)
    if text.startswith("["):
        text = text[1:].replace("]", "", 1) if "]:" not in text else text[1:]
        text, bracket, port = text.partition("]:")
    else:
        bracket = port = ""
        if text.count(":") == 1:
            text, bracket, port = text.partition(":")
    if not bracket and "/" in text and ":" in text.partition("/")[2]:
        head, _, tail = text.partition("/")
        length, bracket, port = tail.partition(":")
        text = f"{head}/{length}"
    if bracket:
        ports = _ports(token, port)
    try:
        network = ip_network(text)
    except ValueError as error:
        raise PatternError(
            f"expected an address or a network, found {quote(str(token))}: {error}", _at(token)
        ) from None
    family: Family = "ipv4" if network.version == 4 else "ipv6"
    return family, int(network.network_address), int(network.broadcast_address), *ports


def _ports(token: Token, text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    first, last = number(low), number(high or low)
    if first is None or last is None or not first <= last <= EVERY_PORT.last:
        message = f"expected ports from 0 to {EVERY_PORT.last}, the lower first, found {quote(text)}"
        raise PatternError(message, _at(token))
    return first, last
