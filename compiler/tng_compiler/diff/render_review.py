"""A difference where people review: Markdown for a comment, and workflow commands of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tng_compiler.diagnostics.quoting import visible
from tng_compiler.diagnostics.render_github import data_text, property_text
from tng_compiler.diff.changes import Change, Difference
from tng_compiler.diff.danger import Danger
from tng_compiler.diff.render_text import MOST_REGIONS, NOTHING, TITLES, by_danger, headline, summary
from tng_compiler.regions.flow import witness
from tng_compiler.regions.text import conditions, destinations

_COMMANDS = {Danger.UNPROTECTED: "error", Danger.PEER: "warning", Danger.REFUSED: "warning"}


def markdown(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return a comment: a section for each document that means something else, the others counted."""
    changed = [(name, difference) for name, difference in differences if not difference.empty]
    lines = ["### What this changes for traffic", ""]
    for name, difference in changed:
        lines += [f"**{_escape(visible(name, 200))}**: {summary(difference)}", "", *_table(difference), ""]
    same = len(differences) - len(changed)
    if same:
        named = f"{same} document{'s' * (same != 1)}"
        lines += [f"{named}: {NOTHING}." if changed else f"{NOTHING[0].upper()}{NOTHING[1:]} ({named}).", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _table(difference: Difference) -> Iterator[str]:
    yield "| | traffic | such as |"
    yield "|---|---|---|"
    for change in by_danger(difference):
        mark = ":rotating_light: " if change.danger is Danger.UNPROTECTED else ""
        title = f"{mark}**{TITLES[change.danger].capitalize()}**: {_escape(headline(change))}"
        for field in change.fields:
            title += f"<br>`{field.field}`: {_escape(field.before)} -> {_escape(field.after)}"
        some = change.regions if isinstance(change, Change) else ()
        regions = [f"{destinations(region)} {conditions(region)}".rstrip() for region in some[:MOST_REGIONS]]
        if len(some) > MOST_REGIONS:
            regions.append(f"and {len(some) - MOST_REGIONS} more")
        flows = [f"`{witness(region)}`" for region in some[:MOST_REGIONS]]
        yield f"| {title} | {'<br>'.join(map(_escape, regions))} | {'<br>'.join(flows)} |"


def _escape(text: str) -> str:
    return "".join(f"\\{char}" if char in "\\`*_[]<>|" else char for char in text)


def github(differences: Sequence[tuple[str, Difference]]) -> str:
    """Return one line a change (docs.github.com, "Workflow commands for GitHub Actions")."""
    lines = []
    for name, difference in differences:
        for change in by_danger(difference):
            command = _COMMANDS.get(change.danger, "notice")
            if isinstance(change, Change):
                region = change.regions[0]
                text = f"{headline(change)}\n{destinations(region)} {conditions(region)}".rstrip()
                text += f"\nsuch as: {witness(region)}"
            else:
                fields = (f"{field.field}: {field.before} -> {field.after}" for field in change.fields)
                text = "\n".join([headline(change), *fields])
            title = f"tng diff: {TITLES[change.danger].lower()}"
            lines.append(f"::{command} file={property_text(name)},title={property_text(title)}::{data_text(text)}\n")
    return "".join(lines)
