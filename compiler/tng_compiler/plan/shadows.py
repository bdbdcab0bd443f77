"""What ``precedence`` found, as diagnostics with a witness: a packet that a reviewer can send."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tng_compiler.algebra.budget import Budget
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import Entry, Netfilter
from tng_compiler.plan.interfaces import Takes, canonical
from tng_compiler.plan.items import describe, has_sets, spares_dns
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
            yield position, _entry(entries, position, lost[position][0])
        else:
            yield from ((position, _item(entries, fate)) for fate in lost[position])


def _entry(entries: Sequence[Entry], position: int, fate: Fate) -> Diagnostic:
    entry = entries[position]
    message = (
        f"expected `{entry.pointer}` to capture something, found that entries before it take every packet of its own, "
        f"such as {_witness(entries, fate)}"
    )
    advice = "move it up if it is meant as the exception, or remove it: its trust settings would never be applied"
    if not _idle(entries[:position], entry):
        advice = (
            "move it up if it is meant as the exception: its trust settings would never be applied; do not just remove "
            "it, since it refuses UDP, or what this host forwards, that entries before it leave alone"
        )
    return Diagnostic(Code.ENTRY_SHADOWED, Severity.ERROR, message, Place(entry.pointer), (_note(fate),), advice)


def _idle(before: Iterable[Entry], entry: Entry) -> bool:
    """Whether an entry that gets no connection is not needed for what it refuses either."""
    own = entry.netfilter
    for other in (each.netfilter for each in before):
        dns = spares_dns(other) and not spares_dns(own)
        if own.udp == "reject" and (other.udp == "bypass" or dns):
            return False
        minds = entry.role == "ingress" and _minds(own)
        if minds and (not _minds(other) or _takes(own) not in (None, _takes(other))):
            return False
    return True


def _minds(netfilter: Netfilter) -> bool:
    return netfilter.forwarded != "bypass" and not netfilter.capture_cgroup


def _takes(netfilter: Netfilter) -> Takes:
    return canonical(netfilter.forwarded_interfaces) if netfilter.forwarded == "capture" else None


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
