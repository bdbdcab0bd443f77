"""What each entry captures, for people: read back from the ruleset that is loaded, not from what it was made of."""

from __future__ import annotations

import re

from tng_schema import contract

# Of a set, in words.
SHOWN = 8

_RULE = re.compile(
    rf"^\t+(?P<match>\S.*?) counter name (?P<role>ingress|egress)_(?P<index>\d+){contract.CAPTURED} .*\bredirect to",
    re.M,
)
_SET = re.compile(r"@(\S+)")


def captures(ruleset: str) -> dict[str, list[str]]:
    """Matches in the words of nft, by the pointer of the entry; of its own sets the first elements."""
    found: dict[str, list[str]] = {}
    for rule in _RULE.finditer(ruleset):
        match = rule["match"]
        own = [name for name in _SET.findall(match) if name.startswith(f"{rule['role']}_{rule['index']}_")]
        for name in own:
            match = match.replace(f"@{name}", f"{{ {_elements(ruleset, name)} }}")
        found.setdefault(f"/add_{rule['role']}/{rule['index']}", []).append(match)
    return found


def _elements(ruleset: str, name: str) -> str:
    begin = ruleset.find(f"\n\tset {name} {{")
    body = ruleset[begin : ruleset.find("\n\t}", begin)] if begin >= 0 else ""
    _, _, listed = body.partition("elements = {")
    elements = [each.strip() for each in listed[: 100 * SHOWN].split("}")[0].split(",") if each.strip()]
    total = listed.count(",") + 1 if listed else 0
    more = f", and {total - SHOWN} more" if total > SHOWN else ""
    return ", ".join(elements[:SHOWN]) + more
