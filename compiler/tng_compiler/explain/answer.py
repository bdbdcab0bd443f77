"""The answer to a flow, as values; ``text`` and ``as_json`` say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tng_compiler.rules import decide

Fate = Literal["captured", "taken", "passed", "refused", "depends"]


@dataclass(frozen=True, slots=True)
class Step:
    """A rule that held: its text, its line in ``ruleset.nft`` (from 1) and the JSON pointer of the entry it is for.

    ``pointer`` is None for the rules that no single entry asked for; ``why`` says then what they are for.
    """

    chain: str
    line: int
    rule: str
    pointer: str | None
    why: str


@dataclass(frozen=True, slots=True)
class Miss:
    """An entry that one change would have made capture the flow: ``change`` says what stood in the way."""

    pointer: str
    change: str


@dataclass(frozen=True, slots=True)
class Proof:
    """``who`` proves what code it runs to ``whom``, by the ``model``; ``how`` adds service, policies and pins."""

    who: str
    whom: str
    model: str
    how: str


@dataclass(frozen=True, slots=True)
class After:
    """What the runtime does with a connection that is captured or taken. No ``proofs``: the entry says ``no_ra``."""

    steps: tuple[str, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One outcome: ``when`` are the conditions under which it is, none if there is one case only.

    ``entry`` is the pointer of the one that captures or refuses, or is a door that takes it; ``item`` of what in it
    names the destination; ``port`` the listen port that the connection is redirected to, or comes to; ``reason`` one
    sentence; ``example`` a flow of this case that leaves nothing open.
    """

    when: tuple[tuple[str, str], ...]
    fate: Fate
    verdict: decide.Fate
    entry: str | None
    item: str | None
    port: int | None
    reason: str
    example: str
    steps: tuple[Step, ...]
    misses: tuple[Miss, ...]
    after: After | None


@dataclass(frozen=True, slots=True)
class Answer:
    """``fate`` is "depends" if the cases have several; ``on`` names then what they differ in, in that order."""

    flow: str
    fate: Fate
    on: tuple[str, ...]
    assumed: tuple[str, ...]
    cases: tuple[Case, ...]
