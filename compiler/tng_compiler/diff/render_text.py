"""A difference for people at a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tng_compiler.diff.changes import Change, Danger, Difference
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


def render(difference: Difference) -> str:
    """Return the report, one paragraph a change, and a last line that counts them."""
    paragraphs = ["\n".join(_paragraph(change)) for change in difference.changes]
    if difference.marks:
        paragraphs.append(marks(difference.marks))
    if any(difference.doors):
        paragraphs.append(doors(difference.doors))
    return "\n\n".join([*paragraphs, summary(difference)]) + "\n"


def summary(difference: Difference) -> str:
    """Return how many changes there are of which kind."""
    if difference.empty:
        return NOTHING
    counted = Counter(change.danger for change in difference.changes)
    parts = [f"{counted[danger]} {TITLES[danger].lower()}" for danger in Danger if counted[danger]]
    if counted[Danger.UNPROTECTED] > 1:
        parts[0] = parts[0].replace("loses", "lose")
    number = len(difference.changes) + (difference.marks is not None) + any(difference.doors)
    return f"{number} change{'s' * (number != 1)}" + (f": {', '.join(parts)}" if parts else "")


def marks(pair: tuple[tuple[int, ...], tuple[int, ...]]) -> str:
    """Say which marks are ours."""
    before, after = (", ".join(map(str, some)) for some in pair)
    return f"{TITLES[Danger.TRUST]}: so_mark {before} -> {after}: what carries a mark of ours always passes"


def doors(pair: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    """Say which entries that capture nothing have gone or changed, and which are new."""
    gone, new = pair
    lines = [f"- {line}" for door in gone for line in door.splitlines()]
    lines += [f"+ {line}" for door in new for line in door.splitlines()]
    return "\n".join([f"{TITLES[Danger.TRUST]}: entries that capture nothing", *lines])


def headline(change: Change) -> str:
    """Say what happens to which kind of traffic."""
    before, after = outcome(change.before), outcome(change.after)
    return f"{kind(change.way, change.protocol)}, {before} -> {after}"


def _paragraph(change: Change) -> Iterator[str]:
    yield f"{TITLES[change.danger]}: {headline(change)}"
    for field in change.fields:
        weaker = " (demands less)" if field.weight == "weaker" else ""
        yield f"  {field.field}: {field.before} -> {field.after}{weaker}"
    for region in change.regions[:MOST_REGIONS]:
        only = conditions(region)
        yield f"  {destinations(region)}"
        if only:
            yield f"    {only}"
        yield f"    such as: {witness(region)}"
    if len(change.regions) > MOST_REGIONS:
        yield f"  and {len(change.regions) - MOST_REGIONS} more regions"
