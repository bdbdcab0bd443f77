"""The chains of one entry, with the same conditions: one redirects (nat), the others refuse (filter).

A ``return`` in them goes on to the next entry, which is what "the first in the document wins" means.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tng_compiler.plan import names
from tng_compiler.plan.types import Interception, Plan
from tng_compiler.rules.destinations import destinations, everything, requested
from tng_compiler.rules.refusal import refuse, requests, withheld, withhold
from tng_compiler.rules.tree import (
    Accept,
    Chain,
    Goto,
    InCgroup,
    Labelled,
    ReceivedBySocket,
    Redirect,
    Return,
    Rule,
)


def guard(entry: Interception) -> str:
    """The chain that refuses requests."""
    return f"{entry.name}_guard"


def answers(entry: Interception) -> str:
    """The chain that refuses what comes from a captured destination."""
    return f"{entry.name}_answers"


def kept(entry: Interception) -> str:
    """The chain that keeps forwarded packets which the entry refuses from later entries."""
    return f"{entry.name}_forwarded"


def without_sender(entry: Interception, chain: str) -> str:
    """The same for packets that have no socket here: the destinations alone."""
    return f"{chain}_to" if entry.inside or entry.outside else chain


def keepers(plan: Plan) -> tuple[Interception, ...]:
    """Entries that refuse what is forwarded to their destinations, before one that captures such packets."""
    takers = [number for number, entry in enumerate(plan.entries) if entry.takes_forwarded]
    before = plan.entries[: takers[-1]] if takers else ()
    return tuple(entry for entry in before if entry.minds_forwarded and not entry.takes_forwarded)


def entry_chains(entry: Interception, plan: Plan) -> Iterator[Chain]:
    """Yield the chains of ``entry``."""
    # A nat chain cannot reject: accept keeps the packet from later entries, and the guard answers it.
    captured = [Rule(match, Accept()) for match in destinations(entry, entry.rejected, entry.rejected_sets)]
    captured += [
        Rule(match, Redirect(entry.listen_port, plan.asks_senders), counter=names.captured(entry))
        for match in destinations(entry, entry.captured, entry.captured_sets)
    ]
    by_service = entry.role == "egress"
    refused = requested(entry, Goto(refuse(entry)))
    answered = [Rule(match, Goto(withhold(entry))) for match in everything(entry, "source")]
    yield requests(entry, plan)
    if entry in keepers(plan):
        untouched = [Rule(match, Accept()) for match in everything(entry, "destination")]
        yield Chain(kept(entry), _commented(untouched, entry.pointer))
    if by_service:
        yield withheld(entry, plan)
    if not entry.inside and not entry.outside:
        yield Chain(entry.name, _commented(captured, entry.pointer))
        yield Chain(guard(entry), _commented(refused, entry.pointer))
        if by_service:
            yield Chain(answers(entry), _commented(answered, entry.pointer))
        return
    untouched = [Rule(match, Accept()) for match in everything(entry, "destination")]
    without = [Rule((), Goto(f"{entry.name}_unknown"))] if by_service and entry.inside else []
    yield from _chains(entry, entry.name, captured, without, untouched)
    let_in = [Rule((Labelled(plan.judged_label),), Return()), Rule((), Goto(f"{guard(entry)}_to"))]
    yield from _chains(entry, guard(entry), refused, let_in if by_service else [])
    if by_service:
        yield from _chains(entry, answers(entry), answered, [])


def _chains(
    entry: Interception,
    name: str,
    verdicts: list[Rule],
    without_socket: list[Rule],
    unknown: list[Rule] | None = None,
) -> Iterator[Chain]:
    """Yield the chains of one purpose: who is exempt, who is meant, then which destinations.

    Several depths of ``capture_cgroup`` are alternatives, and a socket without a cgroup must match none of them: so
    each depth leads by ``goto`` to one chain with the destinations, instead of a negated match that returns.

    ``unknown``: the verdicts for a cgroup that is newer than the rules, which may be a captured one made anew; None is
    the same as for what is meant. ``without_socket``: what is done on an egress if no full socket receives the packet,
    so that nobody knows whose it is. That is a SYN that reuses the ports of a connection in TIME_WAIT, and the last
    segment of a handshake, whose first was judged by the socket that listens.
    """
    meant = f"{name}_to"
    yield Chain(meant, _commented(verdicts, entry.pointer))
    outside = [InCgroup(level.level, names.cgroups(entry, "outside", level)) for level in entry.outside]
    rules = [Rule((match,), Return()) for match in outside]
    if not entry.inside:
        full = (ReceivedBySocket(),) if without_socket else ()
        yield Chain(name, _commented([*rules, Rule(full, Goto(meant)), *without_socket], entry.pointer))
        return
    strangers = meant
    if unknown is not None:
        strangers = f"{name}_unknown"
        yield Chain(strangers, _commented(unknown, entry.pointer))
    inside = [InCgroup(level.level, names.cgroups(entry, "inside", level)) for level in entry.inside]
    rules += [Rule((match,), Goto(meant)) for match in inside]
    levels = [level.level for level in entry.inside]
    rules += [Rule((InCgroup(n, names.known(n), negated=True),), Goto(strangers)) for n in levels]
    if without_socket:
        rules.append(Rule((ReceivedBySocket(),), Return()))
    yield Chain(name, _commented([*rules, *without_socket], entry.pointer))


def _commented(rules: Iterable[Rule], pointer: str) -> tuple[Rule, ...]:
    return tuple(Rule(rule.matches, rule.verdict, pointer, rule.counter) for rule in rules)
