"""All that a reviewer would have found, in the order of the questions; never more than ``LIMIT`` of a kind an entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import chain, islice

from tng_compiler.algebra.budget import Budget
from tng_compiler.algebra.space import Family
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place
from tng_compiler.model.types import Config, Role
from tng_compiler.plan.clients import clients
from tng_compiler.plan.doors import doors
from tng_compiler.plan.hazards import hazards
from tng_compiler.plan.listeners import listeners
from tng_compiler.plan.operator_sets import operator_sets
from tng_compiler.plan.overlap import MOST, overlaps, repeated
from tng_compiler.plan.shadows import shadows
from tng_compiler.plan.types import Plan

BUDGET = 2_000_000
"""Steps of comparing items, in all, before the analysis gives up: a few seconds, more than people nest."""
LIMIT = 8
_ROLES: tuple[Role, Role] = ("ingress", "egress")


def analyse(config: Config, plan: Plan, touching: Iterable[tuple[int, Family]]) -> Iterator[Diagnostic]:
    """Yield the diagnostics; ``touching`` names the entries, by position, and families where items may overlap."""
    yield from _limited(listeners(config, tuple(entry.listen_port for entry in plan.entries)))
    for of_entry in hazards(config):
        yield from _limited(of_entry)
    yield from _limited(clients(config, plan))
    budget = Budget(BUDGET)
    yield from _limited(doors(config, plan, budget))
    yield from _limited(operator_sets(config, plan))
    families: dict[int, list[Family]] = {}
    for position, family in touching:
        families.setdefault(position, []).append(family)
    for position, netfilter in enumerate(entry.netfilter for entry in config.entries):
        touched = overlaps(netfilter, families[position], budget) if position in families else ()
        yield from _limited(chain(repeated(netfilter), touched))
    for role in _ROLES:
        entries = [entry for entry in config.entries if entry.role == role]
        by_entry: dict[int, list[Diagnostic]] = {}
        for position, found in shadows(entries, budget):
            by_entry.setdefault(position, []).append(found)
        for found_there in by_entry.values():
            yield from _limited(found_there)


def _limited(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """Yield few of a kind, count the others. Errors come first in ``found``: what is behind ``MOST`` is not seen."""
    counted: Counter[Code] = Counter()
    last: dict[Code, Diagnostic] = {}
    for diagnostic in islice(found, MOST):
        counted[diagnostic.code] += 1
        last[diagnostic.code] = diagnostic
        if counted[diagnostic.code] <= LIMIT:
            yield diagnostic
    for code, count in counted.items():
        if count > LIMIT:
            many = f"{count - LIMIT}" if sum(counted.values()) < MOST else "many"
            message = f"expected few findings of a kind, found {many} more of {code.value} in this entry"
            severity = last[code].severity
            yield Diagnostic(Code.MORE_OF_A_KIND, severity, message, Place(last[code].place.pointer))
