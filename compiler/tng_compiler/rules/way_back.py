"""Answers to clients whose addresses an egress dials from: back to our socket, and never out of this host.

A service answers to the client's address, which is elsewhere. What tells such an answer is that our own socket opened
the connection, in the zone that only own connections have. It gets a mark, a routing rule leads the mark to a table in
which every address is this host's, and so it comes in again over ``lo``, or from the container that sent it.

The routing rule is outside of these tables, and may be missing. An answer that would leave all the same, in plaintext,
is dropped. That rule is in every table: connections of before a reload may be of that kind.
"""

from __future__ import annotations

from collections.abc import Iterator

from tng_compiler.plan import names
from tng_compiler.plan.types import Plan
from tng_compiler.rules.tree import (
    AddressType,
    Base,
    Chain,
    Direction,
    Drop,
    OpenedInZone,
    OverLoopback,
    Rule,
    SetMark,
)

STRAY_ANSWERS = "stray_answers"
ROUTE_PRIORITY = -155
_LAST = -5


def way_back_chains(plan: Plan) -> Iterator[Chain]:
    """Yield the chains."""
    answers = (Direction("reply"), OpenedInZone(plan.zone))
    if plan.way_back:
        elsewhere = AddressType("destination", ("local",), negated=True)
        back, why = SetMark(plan.way_back.mark), "answers a client from whose address we dialled"
        out = Rule((*answers, elsewhere), back, why)
        yield Chain("way_back_output", (out,), Base("route", "output", ROUTE_PRIORITY, ("tcp",)))
        inwards = Rule((OverLoopback("came", negated=True), *answers, elsewhere), back, why)
        yield Chain("way_back_prerouting", (inwards,), Base("filter", "prerouting", ROUTE_PRIORITY, ("tcp",)))
    leaves = OverLoopback("leaves", negated=True)
    astray = Rule((leaves, *answers), Drop(), "answers own sockets of the runtime, which are here", names.ASTRAY)
    yield Chain(STRAY_ANSWERS, (astray,), Base("filter", "postrouting", _LAST, ("tcp",)))
