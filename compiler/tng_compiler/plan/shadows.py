"""What ``precedence`` found, as diagnostics with a witness: a packet that a reviewer can send."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tng_compiler.algebra.budget import Budget
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import Entry
from tng_compiler.plan.items import describe, has_sets
from tng_compiler.plan.precedence import Fate, precedence


def shadows(entries: Sequence[Entry], budget: Budget) -> Iterator[tuple[int, Diagnostic]]:
    """Yield, with the position of its entry, what entries of one role lose to entries before them."""
    found = precedence(entries, budget)
    if not found.complete:
        yield len(entries) - 1, _unfinished(entries[-1])
    lost: dict[int, list[Fate]] = {}
    alive: set[int] = set()
    for fate in found.fates.values():
        if fate.winner:
            lost.setdefault(fate.item.entry, []).append(fate)
        if fate.alive or not fate.winner:
            alive.add(fate.item.entry)
    for position in sorted(lost):
        entry = entries[position]
        if position not in alive and not has_sets(entry):
            yield position, _entry(entries, entry, lost[position][0])
        else:
            yield from ((position, _item(entries, fate)) for fate in lost[position])


def _entry(entries: Sequence[Entry], entry: Entry, fate: Fate) -> Diagnostic:
    message = (
        f"expected `{entry.pointer}` to capture something, found that entries before it take every packet of its own, "
        f"such as {_witness(entries, fate)}"
    )
    advice = "move it up if it is meant as the exception, or remove it: its trust settings would never be applied"
    return Diagnostic(Code.ENTRY_SHADOWED, Severity.ERROR, message, Place(entry.pointer), (_note(fate),), advice)


def _item(entries: Sequence[Entry], fate: Fate) -> Diagnostic:
    code = Code.ITEM_PARTLY_SHADOWED if fate.alive else Code.ITEM_SHADOWED
    extent = "some of its packets" if fate.alive else "every packet of it"
    assert fate.winner
    winner = entries[fate.winner.entry].pointer
    message = f"expected packets of one entry, found that `{winner}` takes {extent}, such as {_witness(entries, fate)}"
    advice = "the first entry in the document wins; order them from the narrow to the wide, or make them disjoint"
    return Diagnostic(code, Severity.WARNING, message, Place(fate.item.pointer), (_note(fate),), advice)


def _note(fate: Fate) -> Note:
    assert fate.winner
    return Note(Place(fate.winner.pointer), "this one wins")


def _witness(entries: Sequence[Entry], fate: Fate) -> str:
    egress = entries[fate.item.entry].role == "egress"
    sender = fate.sender.describe(egress=egress) if fate.sender else ""
    return describe(fate.family, fate.address, fate.port) + sender


def _unfinished(entry: Entry) -> Diagnostic:
    message = (
        "expected entries that can be compared in reasonable time, found too many, or too many nested in each other"
    )
    advice = "what was not compared still follows the rule: the first entry in the document wins"
    return Diagnostic(Code.ANALYSIS_UNFINISHED, Severity.WARNING, message, Place(entry.pointer), (), advice)
