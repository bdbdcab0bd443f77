"""Every outcome that the open parts of a flow allow, with the conditions under which it is: no condition too many."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass

from tng_compiler.algebra.intervals import union
from tng_compiler.algebra.text import span_text
from tng_compiler.explain.open_parts import Kind, Part, Value
from tng_compiler.explain.situation import Situation

MOST_SPANS = 4


class TooOpenError(Exception):
    """The flow leaves more open than can be gone through."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """``outcome`` is the same for all that it stands for; ``situation`` is one of them."""

    outcome: Hashable
    situation: Situation

    @property
    def key(self) -> Hashable:
        """Equal keys, equal answers."""
        return self.outcome


@dataclass(frozen=True, slots=True)
class Branch:
    """The outcome depends on ``kind``: what is in a group goes on alike."""

    kind: Kind
    groups: tuple[tuple[str, Leaf | Branch], ...]

    @property
    def key(self) -> Hashable:
        """Equal keys, equal answers."""
        return self.kind, tuple((words, node.key) for words, node in self.groups)


Conditions = tuple[tuple[Kind, str], ...]


def solve(
    situation: Situation, parts: Sequence[Part], judge: Callable[[Situation], Hashable], budget: int
) -> Leaf | Branch:
    """Fill in ``parts`` one after the other, and tell apart only what ``judge`` tells apart.

    More than ``budget`` judgements raise ``TooOpenError``.
    """
    left = budget

    def go(known: Situation, number: int) -> Leaf | Branch:
        nonlocal left
        if number == len(parts):
            left -= 1
            if left < 0:
                raise TooOpenError
            return Leaf(judge(known), known)
        groups: dict[Hashable, tuple[list[Value], Leaf | Branch]] = {}
        for value in parts[number].values(known):
            node = go(value.situation, number + 1)
            groups.setdefault(node.key, ([], node))[0].append(value)
        if len(groups) == 1:
            return next(iter(groups.values()))[1]
        return Branch(parts[number].kind, tuple(_named(parts[number].kind, list(groups.values()))))

    return go(situation, 0)


def leaves(node: Leaf | Branch, before: Conditions = ()) -> Iterator[tuple[Conditions, Leaf]]:
    """Yield the outcomes with their conditions, in order."""
    if isinstance(node, Leaf):
        yield before, node
        return
    for words, below in node.groups:
        yield from leaves(below, (*before, (node.kind, words)))


def kinds(node: Leaf | Branch) -> tuple[Kind, ...]:
    """The parts that some outcome depends on, in the order of their filling in."""
    if isinstance(node, Leaf):
        return ()
    below = [kind for _, child in node.groups for kind in kinds(child)]
    return tuple(dict.fromkeys((node.kind, *below)))


def _named(kind: Kind, groups: list[tuple[list[Value], Leaf | Branch]]) -> Iterator[tuple[str, Leaf | Branch]]:
    """Name each group by its values, and the one with the most as the rest."""
    sizes = [sum(_size(value) for value in values) for values, _ in groups]
    numbers = all(not isinstance(value.what, str) for values, _ in groups for value in values)
    rest = sizes.index(max(sizes)) if numbers else -1
    order = [number for number in range(len(groups)) if number != rest] + [rest] * numbers
    for number in order:
        values, node = groups[number]
        yield (f"any other {kind}" if number == rest else _words(kind, values)), node


def _size(value: Value) -> int:
    return 1 if isinstance(value.what, str) else sum(last - first + 1 for first, last in value.what)


def _words(kind: Kind, values: Sequence[Value]) -> str:
    if isinstance(values[0].what, str):
        return " or ".join(str(value.what) for value in values)
    spans = union(span for value in values if not isinstance(value.what, str) for span in value.what)
    family = values[0].situation.family
    shown = [span_text(family, *span) if kind in ("address", "source") else _ports(span) for span in spans[:MOST_SPANS]]
    more = len(spans) - MOST_SPANS
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _ports(span: tuple[int, int]) -> str:
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"
