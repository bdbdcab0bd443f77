"""Regular expressions for names of hosts, in time that grows with the pattern times the name and never faster.

What RE2 and the regex crate of Rust read alike, as far as names need it: literals, ``.``, classes, ``\\d \\w``, groups,
``|``, ``* + ? {m,n}`` (also lazy), ``^ $ \\A \\z``. A pattern is found anywhere in a name unless it is anchored, and
case does not matter: to names it does not. Anything else is an error, not a guess.

The automaton is Thompson's: all positions that a name may have reached are followed at once, so that nothing is tried
twice (``re`` tries again, and a name of 40 letters can keep it busy for years).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

MOST_STATES = 300
"""With the longest name that is less than 0.1 s; ``[a-z]{1,63}`` has 126."""
MOST_STATES_TOGETHER = 1000
"""Of all patterns that one name is compared with."""
MOST_REPEATS = 255
LONGEST_PATTERN = 4096
"""Characters: 300 classes of the usual length take 3,000."""
LONGEST_NAME = 255
_NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_DIGITS = frozenset("0123456789")
_WORD = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_CLASSES = {"d": _DIGITS, "D": _NAME_CHARACTERS - _DIGITS, "w": _WORD, "W": _NAME_CHARACTERS - _WORD}
_ANCHORS = {"^": "start", "$": "end"}


class PatternError(ValueError):
    """``position`` is where in the pattern, from 0."""

    def __init__(self, problem: str, position: int) -> None:
        super().__init__(problem)
        self.problem, self.position = problem, position


class _Step(NamedTuple):
    """One state: takes a character of ``takes``, or goes on to all of ``to`` without one (there is an ``anchor``).

    A tuple for speed: a document may have a million.
    """

    takes: frozenset[str] | None
    to: tuple[int, ...]
    anchor: str | None = None


_MATCH = _Step(None, ())


class Pattern:
    """A pattern that was read; raises ``PatternError``."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST_PATTERN:
            raise PatternError(f"the pattern has more than {LONGEST_PATTERN} characters", LONGEST_PATTERN)
        self._steps = _Reader(text).program()

    @property
    def size(self) -> int:
        """How many states it has: what a name takes grows with them."""
        return len(self._steps)

    def found_in(self, name: str) -> bool:
        """Whether it matches somewhere in ``name``, which is at most ``LONGEST_NAME`` characters long."""
        name = name.lower()
        if len(name) > LONGEST_NAME:
            return False
        reached: set[int] = set()
        for index in range(len(name) + 1):
            seen: set[int] = set()
            for state in (*reached, 0):
                if self._enter(state, seen, start=index == 0, end=index == len(name)):
                    return True
            if index < len(name):
                reached = {
                    step.to[0]
                    for step in (self._steps[state] for state in seen)
                    if step.takes is not None and name[index] in step.takes
                }
        return False

    def _enter(self, first: int, seen: set[int], *, start: bool, end: bool) -> bool:
        """Add what is reached without a character; True at the end of the pattern."""
        left = [first]
        while left:
            if (state := left.pop()) in seen:
                continue
            seen.add(state)
            step = self._steps[state]
            if step is _MATCH:
                return True
            if step.takes is None and (step.anchor is None or (start if step.anchor == "start" else end)):
                left.extend(step.to)
        return False


@lru_cache(maxsize=256)
def pattern(text: str) -> Pattern:
    """The pattern, read once; raises ``PatternError``."""
    return Pattern(text)


@lru_cache(maxsize=4096)
def found(text: str, name: str) -> bool:
    """Whether a pattern is found in ``name``; names come again and again. Raises ``PatternError``."""
    return pattern(text).found_in(name)


class _Reader:
    """A recursive descent that builds the program from its end: each part is given the state that follows it."""

    def __init__(self, text: str) -> None:
        self._text, self._at, self._depth = text, 0, 0

    def program(self) -> list[_Step]:
        tree = self._either()
        if self._at < len(self._text):
            raise PatternError("a `)` closes nothing", self._at)
        steps = [_MATCH]
        first = tree.build(steps, 0)
        return [_Step(None, (first + 1,)), *(_moved(step) for step in steps)]

    def _next(self) -> str:
        return self._text[self._at : self._at + 1]

    def _either(self) -> _Node:
        branches = [self._sequence()]
        while self._next() == "|":
            self._at += 1
            branches.append(self._sequence())
        return branches[0] if len(branches) == 1 else _Either(tuple(branches))

    def _sequence(self) -> _Node:
        parts: list[_Node] = []
        while (character := self._next()) and character not in "|)":
            parts.append(self._repeated(self._one()))
        return _Sequence(tuple(parts))

    def _one(self) -> _Node:
        began, character = self._at, self._next()
        self._at += 1
        if character == "(":
            return self._group(began)
        if character == "[":
            return _Take(self._class(began))
        if character == "\\":
            return self._escaped(began)
        if character in _ANCHORS:
            return _Anchor(_ANCHORS[character])
        if character == ".":
            return _Take(_NAME_CHARACTERS)
        if character in "*+?{":
            raise PatternError(f"`{character}` repeats nothing", began)
        return _Take(frozenset(character.lower()))

    def _group(self, began: int) -> _Node:
        if self._next() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                raise PatternError("groups are `(...)` and `(?:...)`, without flags, names or looking around", began)
            self._at += 2
        if (depth := self._depth) >= 50:
            raise PatternError("groups are nested too deeply", began)
        self._depth = depth + 1
        inner = self._either()
        self._depth = depth
        if self._next() != ")":
            raise PatternError("a group is not closed", began)
        self._at += 1
        return inner

    def _escaped(self, began: int) -> _Node:
        character = self._next()
        self._at += 1
        if character in ("A", "z"):
            return _Anchor("start" if character == "A" else "end")
        return _Take(self._set_of(character, began))

    def _set_of(self, character: str, began: int) -> frozenset[str]:
        """What a backslash and ``character`` stand for."""
        if character in _CLASSES and character:
            return _CLASSES[character]
        if not character or character.isalnum() or not character.isascii():
            raise PatternError(f"`\\{character}` is not known; `\\d`, `\\w` and escaped punctuation are", began)
        return frozenset(character)

    def _class(self, began: int) -> frozenset[str]:
        negated = self._next() == "^"
        self._at += negated
        taken: set[str] = set()
        first = True
        while (character := self._next()) != "]" or first:
            if not character or (character == "[" and self._text[self._at + 1 : self._at + 2] == ":"):
                raise PatternError("a class is not closed, or names another one", began)
            first = False
            taken |= self._item(began)
        self._at += 1
        return (_NAME_CHARACTERS - taken) if negated else frozenset(taken)

    def _item(self, began: int) -> frozenset[str]:
        """One character of a class, or a range of them."""
        low = self._member(began)
        after = self._text[self._at + 1 : self._at + 2]
        if self._next() != "-" or after in ("]", ""):
            return low
        self._at += 1
        high = self._member(began)
        if len(low) != 1 or len(high) != 1 or min(low) > min(high):
            raise PatternError("a range of a class ends before it begins", began)
        span = range(ord(min(low)), ord(min(high)) + 1)
        return frozenset(name for name in _NAME_CHARACTERS if ord(name) in span or ord(name.upper()) in span)

    def _member(self, began: int) -> frozenset[str]:
        character = self._next()
        self._at += 1
        if character == "\\":
            character = self._next()
            self._at += 1
            return self._set_of(character, began)
        # Ranges need the case that was written; what is no letter of a name never meets one.
        return frozenset(character)

    def _repeated(self, node: _Node) -> _Node:
        while True:
            began, character = self._at, self._next()
            if character == "*":
                least, most = 0, None
            elif character == "+":
                least, most = 1, None
            elif character == "?":
                least, most = 0, 1
            elif character == "{":
                least, most = self._bounds(began)
            else:
                return node
            if isinstance(node, (_Repeat, _Anchor)):
                raise PatternError("a repetition or an anchor is repeated", began)
            self._at += 1
            if self._next() == "?":  # lazy: the same names match
                self._at += 1
            node = _Repeat(node, least, most, began)

    def _bounds(self, began: int) -> tuple[int, int | None]:
        end = self._text.find("}", began)
        low, comma, high = self._text[began + 1 : end].partition(",")
        numbers = [each for each in (low, high) if each]
        if end < 0 or not low or not all(each.isascii() and each.isdecimal() for each in numbers):
            raise PatternError("a repetition is `{3}`, `{3,}` or `{3,5}`", began)
        least, most = int(low), int(high) if high else (None if comma else int(low))
        if max(least, most or 0) > MOST_REPEATS or (most is not None and most < least):
            raise PatternError(f"a repetition is at most {MOST_REPEATS} times, and not less than its beginning", began)
        self._at = end
        return least, most


class _Node:
    """A part of a pattern."""

    def build(self, steps: list[_Step], after: int) -> int:
        """Append states that lead to state ``after``; return the first of them."""
        raise NotImplementedError


def _add(steps: list[_Step], step: _Step) -> int:
    if len(steps) >= MOST_STATES:
        raise PatternError(f"the pattern has more than {MOST_STATES} states", 0)
    steps.append(step)
    return len(steps) - 1


def _moved(step: _Step) -> _Step:
    return step if step is _MATCH else _Step(step.takes, tuple(to + 1 for to in step.to), step.anchor)


@lru_cache(maxsize=256)
def _lower(characters: frozenset[str]) -> frozenset[str]:
    return frozenset(each.lower() for each in characters)


@dataclass(frozen=True, slots=True)
class _Take(_Node):
    takes: frozenset[str]

    def build(self, steps: list[_Step], after: int) -> int:
        return _add(steps, _Step(_lower(self.takes), (after,)))


@dataclass(frozen=True, slots=True)
class _Anchor(_Node):
    where: str

    def build(self, steps: list[_Step], after: int) -> int:
        return _add(steps, _Step(None, (after,), self.where))


@dataclass(frozen=True, slots=True)
class _Sequence(_Node):
    parts: tuple[_Node, ...]

    def build(self, steps: list[_Step], after: int) -> int:
        for part in reversed(self.parts):
            after = part.build(steps, after)
        return after


@dataclass(frozen=True, slots=True)
class _Either(_Node):
    branches: tuple[_Node, ...]

    def build(self, steps: list[_Step], after: int) -> int:
        return _add(steps, _Step(None, tuple(branch.build(steps, after) for branch in self.branches)))


@dataclass(frozen=True, slots=True)
class _Repeat(_Node):
    node: _Node
    least: int
    most: int | None
    position: int

    def build(self, steps: list[_Step], after: int) -> int:
        if self.most is None:
            loop = _add(steps, _Step(None, ()))
            steps[loop] = _Step(None, (self.node.build(steps, loop), after))
            after = loop
        else:
            end = after
            for _ in range(self.most - self.least):
                after = _add(steps, _Step(None, (self.node.build(steps, after), end)))
        for _ in range(self.least):
            before = len(steps)
            after = self.node.build(steps, after)
            if len(steps) == before:  # nothing, however often
                break
        return after
