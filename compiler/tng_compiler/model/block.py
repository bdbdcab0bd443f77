"""Typed access to one JSON object, after ``shape``: what shape refused is absent here, and has been reported there."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.diagnostics.pointer import child
from tng_compiler.shape.check import MAX_FAULTS, Shape, too_many


@dataclass(slots=True)
class Findings:
    """The diagnostics of this stage, in the order found.

    ``errors`` counts all errors, ``faults`` keeps the first: a generator that errs once errs 100,000 times.
    """

    shape: Shape
    faults: list[Diagnostic] = field(default_factory=list)
    errors: int = 0

    @property
    def full(self) -> bool:
        """Whether more faults would not be kept: then reading on is in vain, and what shape refused is not known."""
        return self.errors >= MAX_FAULTS or len(self.shape.faults) >= MAX_FAULTS

    def error(
        self, code: Code, place: Place, message: str, help_: str | None = None, notes: tuple[Note, ...] = ()
    ) -> None:
        """Report what makes the document mean nothing, or something wrong."""
        self.errors += 1
        if self.errors < MAX_FAULTS:
            self.faults.append(Diagnostic(code, Severity.ERROR, message, place, notes, help_))
        elif self.errors == MAX_FAULTS:
            self.faults.append(too_many())

    def warn(self, code: Code, place: Place, message: str, help_: str | None = None) -> None:
        """Report what is legal and surprising."""
        self.faults.append(Diagnostic(code, Severity.WARNING, message, place, help=help_))


@dataclass(frozen=True, slots=True)
class Block:
    """One object of the document and where it stands."""

    members: dict[str, Any]
    pointer: str
    findings: Findings

    def value_at(self, name: str) -> Place:
        """Return the place of a member's value; of the block's own when there is no such member."""
        return Place(child(self.pointer, name)) if name in self.members else Place(self.pointer)

    def key_at(self, name: str) -> Place:
        """Return the place of a member's name."""
        return Place(child(self.pointer, name), "key")

    def usable(self, name: str) -> bool:
        """Tell whether the member is there, is not null, and passed ``shape``."""
        bad = self.findings.shape.bad
        return self.members.get(name) is not None and (not bad or child(self.pointer, name) not in bad)

    def said(self, name: str) -> bool:
        """Tell whether the author said something by this name: rightly, wrongly, or misspelt."""
        pointer = child(self.pointer, name)
        shape = self.findings.shape
        return self.members.get(name) is not None or pointer in shape.bad or pointer in shape.meant

    def text(self, name: str) -> str | None:
        """Return a string member."""
        value = self.members.get(name)
        return value if isinstance(value, str) and self.usable(name) else None

    def integer(self, name: str) -> int | None:
        """Return an integer member."""
        value = self.members.get(name)
        return value if type(value) is int and self.usable(name) else None

    def flag(self, name: str) -> bool:
        """Return a boolean member, False when absent."""
        return self.members.get(name) is True

    def texts(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return ``(pointer, text)`` of a list of strings, or of one string in its place."""
        value = self.members.get(name)
        pointer = child(self.pointer, name)
        bad = self.findings.shape.bad
        if pointer in bad:
            return ()
        if isinstance(value, str):
            return ((pointer, value),)
        if not isinstance(value, list):
            return ()
        found = ((child(pointer, index), item) for index, item in enumerate(value) if isinstance(item, str))
        return tuple((where, item) for where, item in found if where not in bad)

    def block(self, name: str) -> Block | None:
        """Return a member that is an object, unless it is one whose kind is not supported."""
        value = self.members.get(name)
        if not isinstance(value, dict) or not self.usable(name):
            return None
        return Block(value, child(self.pointer, name), self.findings)
