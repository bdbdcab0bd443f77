"""What iptables cannot tell: refused where a condition would be lost, said by name where the rules hold to less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.plan.types import Interception, Plan


class CannotExpressError(Exception):
    """The plan has conditions that iptables has not; ``found`` names them."""

    def __init__(self, found: tuple[Diagnostic, ...]) -> None:
        super().__init__("; ".join(diagnostic.message for diagnostic in found))
        self.found = found


@dataclass(frozen=True, slots=True)
class Limit:
    """``title``: what iptables has not; ``lines`` say in the script what follows."""

    pointer: str
    title: str
    lines: tuple[str, ...]


def unsupported(plan: Plan) -> tuple[Diagnostic, ...]:
    """Return an error for each condition that iptables cannot express."""
    return tuple(found for entry in plan.entries for found in _unsupported(entry))


def _unsupported(entry: Interception) -> Iterator[Diagnostic]:
    if entry.takes_forwarded and not entry.forwarded_interfaces:
        yield Diagnostic(
            Code.NOT_IN_IPTABLES,
            Severity.ERROR,
            "expected conditions that iptables has, found no interface named: iptables cannot tell bridges",
            Place(f"{entry.pointer}/netfilter/forwarded"),
            (),
            'use the nft output, or name them: "forwarded_interfaces": ["docker0", "br-*"]',
        )
    if entry.role == "egress" and (entry.inside or entry.outside):
        yield Diagnostic(
            Code.NOT_IN_IPTABLES,
            Severity.ERROR,
            "expected conditions that iptables has, found cgroups on an egress: iptables cannot look up the service",
            Place(f"{entry.pointer}/netfilter/{'capture_cgroup' if entry.inside else 'nocapture_cgroup'}"),
            (),
            "use the nft output, or capture by port",
        )
    if entry.client_address == "original":
        yield Diagnostic(
            Code.NOT_IN_IPTABLES,
            Severity.ERROR,
            "expected conditions that iptables has, found `original`: iptables cannot tell whose answers come back",
            Place(f"{entry.pointer}/netfilter/client_address"),
            (),
            "use the nft output, or tell the service by `proxy_protocol`",
        )


def doubtful(plan: Plan) -> tuple[Diagnostic, ...]:
    """Return what the rules of iptables will not hold to: a warning a captured unit, a note for each ``weaker``.

    xt_cgroup resolves a path when the rule is loaded and has no sets, so the third answer of the rule tree, an unknown
    cgroup, cannot be told apart here.
    """
    units = tuple(
        Diagnostic(
            Code.CGROUP_OF_UNIT,
            Severity.WARNING,
            f"expected a cgroup that outlives restarts, found the unit `{units[0]}`",
            Place(f"{entry.pointer}/netfilter/capture_cgroup"),
            (),
            "after a restart its traffic leaves in plaintext until the script is run again: use the nft output, or put "
            "the unit into a slice of its own (Slice=) and capture the slice",
        )
        for entry in plan.entries
        if (units := [path for level in entry.inside for path in level.paths if path.endswith((".service", ".scope"))])
    )
    return units + tuple(
        Diagnostic(
            Code.WEAKER_IN_IPTABLES,
            Severity.NOTE,
            f"expected all that the nft output holds to, found that iptables has no {limit.title}",
            Place(limit.pointer),
            (),
            " ".join(limit.lines),
        )
        for limit in weaker(plan)
    )


def weaker(plan: Plan) -> Iterator[Limit]:
    """Yield what the script of ``plan`` does without."""
    if not plan.entries:
        return
    first = plan.entries[0].pointer
    yield Limit(
        first,
        "mark of the receiving socket",
        (
            "Whoever binds a listen port while the runtime is away gets what is captured,",
            "and connections of the runtime that are older than these rules may be reset.",
        ),
    )
    yield Limit(
        first,
        "mark of the sending socket",
        ("A table that rewrites the marks of packets decides which connections count as the runtime's own.",),
    )
    yield Limit(
        first,
        "table with an owner",
        ("Whoever flushes the tables opens what is captured, until this runs again.",),
    )
    for entry in plan.entries:
        if entry.minds_forwarded:
            yield Limit(
                entry.pointer,
                "kind of an interface",
                (
                    "What comes for a port of this host that another table leads to a captured destination on another",
                    "host passes in plaintext: it cannot be told from a container's port.",
                ),
            )
        if entry.local_traffic:
            yield Limit(
                entry.pointer,
                "zone of a connection as a condition",
                ("A connection within this host that was tracked before these rules may go on to be answered.",),
            )
        if entry.inside or entry.outside:
            yield Limit(
                entry.pointer,
                "timeouts of single connections",
                (
                    "For 10 s after a reset, whoever in another cgroup gets the same port for the same destination is",
                    "led to the entry that the connection of before belonged to.",
                ),
            )
        if entry.inside:
            yield Limit(
                entry.pointer,
                "sets of cgroups",
                (
                    "A captured cgroup is looked up by its path when this runs. One that is made anew later, as by a",
                    "restart of its unit, is not captured: IT SENDS IN PLAINTEXT until this runs again.",
                ),
            )
