"""A difference for people at a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tng_compiler.diff.changes import Change, Difference, SettingChange
from tng_compiler.diff.danger import Danger
from tng_compiler.diff.doors import DoorChange
from tng_compiler.diff.doors import headline as of_door
from tng_compiler.diff.trust import FieldChange
from tng_compiler.regions.flow import witness
from tng_compiler.regions.text import conditions, destinations, kind, outcome

NOTHING = "no difference: the same becomes of all traffic"
TITLES = {
    Danger.UNPROTECTED: "LOSES PROTECTION",
    Danger.PEER: "REFUSED UNTIL THE OTHER SIDE CHANGES TOO",
    Danger.REFUSED: "REFUSED FROM NOW ON",
    Danger.TRUST: "OTHER SETTINGS",
    Danger.ATTESTED: "CAPTURED INSTEAD OF REFUSED",
}
MOST_REGIONS = 6

AnyChange = Change | DoorChange | SettingChange


def render(difference: Difference) -> str:
    """Return the report, one paragraph a change, and a last line that counts them."""
    paragraphs = ["\n".join(_paragraph(change)) for change in by_danger(difference)]
    return "\n\n".join([*paragraphs, summary(difference)]) + "\n"


def by_danger(difference: Difference) -> list[AnyChange]:
    """Return all changes, the most dangerous first."""
    every: tuple[AnyChange, ...] = (*difference.changes, *difference.doors, *difference.settings)
    return sorted(every, key=lambda change: list(Danger).index(change.danger))


def summary(difference: Difference) -> str:
    """Return how many changes there are of which kind."""
    if difference.empty:
        return NOTHING
    changes = by_danger(difference)
    counted = Counter(change.danger for change in changes)
    parts = [f"{counted[danger]} {TITLES[danger].lower()}" for danger in Danger if counted[danger]]
    if counted[Danger.UNPROTECTED] > 1:
        parts[0] = parts[0].replace("loses", "lose")
    return f"{len(changes)} change{'s' * (len(changes) != 1)}: {', '.join(parts)}"


def headline(change: AnyChange) -> str:
    """Say what happens to which kind of traffic, to which door, or to which setting."""
    if isinstance(change, DoorChange):
        return of_door(change)
    if isinstance(change, SettingChange):
        return f"{change.field} {change.before} -> {change.after}: {change.why}"
    before, after = outcome(change.before), outcome(change.after)
    return f"{kind(change.way, change.protocol)}, {before} -> {after}"


def _paragraph(change: AnyChange) -> Iterator[str]:
    yield f"{TITLES[change.danger]}: {headline(change)}"
    for field in change.fields:
        yield f"  {field.field}: {field.before} -> {field.after}{less(change, field)}"
    regions = change.regions if isinstance(change, Change) else ()
    for region in regions[:MOST_REGIONS]:
        only = conditions(region)
        yield f"  {destinations(region)}"
        if only:
            yield f"    {only}"
        yield f"    such as: {witness(region)}"
    if len(regions) > MOST_REGIONS:
        yield f"  and {len(regions) - MOST_REGIONS} more regions"


def less(change: AnyChange, field: FieldChange) -> str:
    """Say of a field that it is for its sake that protection is lost."""
    if field.weight != "weaker":
        return ""
    return " (protects less)" if isinstance(change, DoorChange) else " (demands less)"
