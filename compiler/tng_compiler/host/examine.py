"""Everything that is looked at, in one call: all findings, whatever the first ones are."""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Severity
from tng_compiler.host import (
    files,
    forwarding,
    listeners,
    named,
    network,
    nft,
    services,
    shared,
    tables,
    units,
    way_back,
)
from tng_compiler.host.finding import Finding
from tng_compiler.plan.types import Plan


def examine(plan: Plan | None) -> list[Finding]:
    """Return what is wrong or surprising on this host for ``plan``, or for any document; nothing is touched.

    A plan of doors alone has no rules where they cannot be changed, and needs none.
    """
    if plan is not None and not plan.entries and any(nft.privileges()):
        return [*listeners.taken(plan), *files.unusable(plan), *named.agents(plan), *services.reached(plan)]
    found = [*nft.programs(), *nft.kernel(), *nft.privileges()]
    able = not any(item.diagnostic.severity is Severity.ERROR for item in found)
    if able:
        found += tables.before_ours()
    found += [*tables.removed_at_boot(), *network.conntrack()]
    if plan is not None:
        found += _of_document(plan, able=able)
    return found


def _of_document(plan: Plan, *, able: bool) -> Iterator[Finding]:
    yield from listeners.taken(plan)
    yield from units.runs(plan)
    absent = list(named.cgroups(plan))
    yield from absent
    if able:
        yield from tables.other_instances(plan)
        yield from shared.captured_twice(plan)
        yield from named.ipsets(plan)
        yield from way_back.routed(plan)
    if able and not absent:
        yield from nft.rules(plan)
    yield from files.unusable(plan)
    yield from named.agents(plan)
    yield from services.reached(plan)
    yield from network.ipv6(plan)
    yield from network.client_ports(plan)
    yield from forwarding.forwarded(plan)


HOST_CODES = tuple(code for code in Code if code.value.startswith("TNG6"))
"""Those of this package."""
