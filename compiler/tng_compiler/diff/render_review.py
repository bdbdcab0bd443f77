"""A difference where people review: Markdown for a comment, and workflow commands of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tng_compiler.diff.changes import Danger, Difference
from tng_compiler.diff.render_text import MOST_REGIONS, NOTHING, TITLES, doors, headline, marks, summary
from tng_compiler.regions.flow import witness
from tng_compiler.regions.text import conditions, destinations

_COMMANDS = {Danger.UNPROTECTED: "error", Danger.PEER: "warning", Danger.REFUSED: "warning"}


def markdown(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return a comment: a section for each document that means something else, the others counted."""
    changed = [(name, difference) for name, difference in differences if not difference.empty]
    lines = ["### What this changes for traffic", ""]
    for name, difference in changed:
        lines += [f"**{_escape(name)}**: {summary(difference)}", "", *_table(difference), ""]
    same = len(differences) - len(changed)
    if same:
        named = f"{same} document{'s' * (same != 1)}"
        lines += [f"{named}: {NOTHING}." if changed else f"{NOTHING[0].upper()}{NOTHING[1:]} ({named}).", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(difference: Difference) -> Iterator[str]:
    if difference.changes:
        yield "| | traffic | such as |"
        yield "|---|---|---|"
    for change in difference.changes:
        mark = ":rotating_light: " if change.danger is Danger.UNPROTECTED else ""
        title = f"{mark}**{TITLES[change.danger].capitalize()}**: {_escape(headline(change))}"
        for field in change.fields:
            title += f"<br>`{field.field}`: {_escape(field.before)} -> {_escape(field.after)}"
        regions = [f"{destinations(region)} {conditions(region)}".rstrip() for region in change.regions[:MOST_REGIONS]]
        if len(change.regions) > MOST_REGIONS:
            regions.append(f"and {len(change.regions) - MOST_REGIONS} more")
        flows = [f"`{witness(region)}`" for region in change.regions[:MOST_REGIONS]]
        yield f"| {title} | {'<br>'.join(map(_escape, regions))} | {'<br>'.join(flows)} |"
    if difference.marks:
        yield ""
        yield _escape(marks(difference.marks))
    if any(difference.doors):
        yield ""
        yield "<br>".join(map(_escape, doors(difference.doors).splitlines()))


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_[]<>|" else char for char in text)


def github(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return one line a change (docs.github.com, "Workflow commands for GitHub Actions")."""
    lines = []
    for name, difference in differences:
        for change in difference.changes:
            command = _COMMANDS.get(change.danger, "notice")
            region = change.regions[0]
            text = f"{headline(change)}\n{destinations(region)} {conditions(region)}".rstrip()
            text += f"\nsuch as: {witness(region)}"
            title = f"tng diff: {TITLES[change.danger].lower()}"
            lines.append(f"::{command} file={_property(name)},title={_property(title)}::{_data(text)}\n")
        if difference.marks:
            lines.append(f"::notice file={_property(name)},title=tng diff::{_data(marks(difference.marks))}\n")
        if any(difference.doors):
            lines.append(f"::notice file={_property(name)},title=tng diff::{_data(doors(difference.doors))}\n")
    return "".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
