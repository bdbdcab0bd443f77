"""The rule tree for hosts without nft: chains of our own in the tables of iptables, both families, and ipsets.

A rule has one family, one protocol and one port interval, so what is one rule of the tree may be several here: every
match becomes its alternatives (none: it cannot hold), and a rule is printed once for each combination.
iptables-restore replaces the content of our chains in one step, and ``ipset swap`` that of our sets, so loading again
leaves no gap. What iptables cannot tell is a case here by name: either it makes the plan ``unsupported``, or
``weaker`` says what the rules hold to less well than nft's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from tng_compiler.algebra.space import FAMILIES, Family
from tng_compiler.emit.ipset import by_set, operator_lines, set_lines, set_names
from tng_compiler.emit.iptables_limits import CannotExpressError, unsupported, weaker
from tng_compiler.emit.iptables_match import Sets, alternatives, target
from tng_compiler.plan import names
from tng_compiler.plan.types import Plan
from tng_compiler.rules import tree
from tng_compiler.rules.lower import lower
from tng_compiler.rules.way_back import STRAY_ANSWERS

_COMMAND: dict[Family, str] = {"ipv4": "iptables", "ipv6": "ip6tables"}
CONNTRACK_PRIORITY = -200
_TABLES = ("raw", "mangle", "nat", "filter")
_Rules = list[str]


@dataclass(frozen=True, slots=True)
class Hook:
    """A built-in chain of a table, from which one of ours is called for one protocol (None: for all)."""

    table: str
    builtin: str
    protocol: tree.Protocol | None
    chain: str

    def words(self) -> str:
        """The arguments of the script's ``hook``."""
        protocol = f" -p {self.protocol}" if self.protocol else ""
        return f"{self.table} {self.builtin}{protocol} -j {self.chain}"


@dataclass(frozen=True, slots=True)
class Documents:
    """Texts for ``ipset restore`` (before and at removal), and per family for ``iptables-restore --noflush``."""

    ipset: str
    ipset_removal: str
    rules: dict[Family, str]
    removal: dict[Family, str]
    hooks: tuple[Hook, ...]


def documents(plan: Plan) -> Documents:
    """Return the documents; raises ``CannotExpressError`` for what ``unsupported`` names."""
    if found := unsupported(plan):
        raise CannotExpressError(found)
    table = _expressible(lower(plan))
    chains = {family: _chains(plan, table, family) for family in FAMILIES}
    return Documents(
        ipset="".join(f"{line}\n" for line in (*operator_lines(plan), *set_lines(plan))),
        ipset_removal="".join(f"destroy {name}\n" for name in set_names(plan)),
        rules={family: _document(plan, chains[family]) for family in FAMILIES},
        removal={family: _removal(chains[family]) for family in FAMILIES},
        hooks=tuple(_hooks(table)),
    )


def render(plan: Plan) -> str:
    """Return a script for sh that loads the documents, or removes everything when called with ``remove``."""
    texts = documents(plan)
    load = [_here("ipset restore", texts.ipset)] if texts.ipset else []
    load += [_here(f"{_COMMAND[family]}-restore -w --noflush", texts.rules[family]) for family in FAMILIES]
    remove = [_here(f"{_COMMAND[family]}-restore -w --noflush", texts.removal[family]) for family in FAMILIES]
    remove += [_here("ipset restore", texts.ipset_removal)] if texts.ipset_removal else []
    pairs = [f"{_COMMAND[family]} {hook.words()}" for hook in texts.hooks for family in FAMILIES]
    limits = {limit.title: limit for limit in weaker(plan)}.values()
    return "\n".join(
        [
            "#!/bin/sh",
            f"# Instance {plan.instance}, made by tng {plan.compiler_version}",
            f"# from the configuration with SHA-256 {plan.config_sha256}.",
            "# Loads the rules, again and again if need be; with the argument `remove` it removes them.",
            *(f"# {line}" for limit in limits for line in limit.lines),
            "set -eu",
            'hook() { c="$1 -w -t $2" b=$3; shift 3; $c -C "$b" "$@" 2>/dev/null || $c -I "$b" "$@"; }',
            'unhook() { c="$1 -w -t $2" b=$3; shift 3; while $c -D "$b" "$@" 2>/dev/null; do :; done; }',
            'if [ "${1-load}" = remove ]; then',
            *(f"unhook {pair}" for pair in pairs),
            *remove,
            "exit 0",
            "fi",
            *load,
            *(f"hook {pair}" for pair in pairs),
            "",
        ]
    )


def _expressible(table: tree.Table) -> tree.Table:
    """Without what only counts by name, and the last resort of the way back: iptables cannot ask for a zone.

    It would drop every answer. A plan that needs a way back is ``unsupported``.
    """
    kept = (chain for chain in table.chains if chain.name != STRAY_ANSWERS and not chain.counts)
    return replace(table, chains=tuple(kept))


def _here(command: str, text: str) -> str:
    return f"{command} <<'END'\n{text}END"


def _hooks(table: tree.Table) -> Iterator[Hook]:
    """The guard first, so that nothing passes between the two."""
    for chain in sorted(table.chains, key=lambda chain: bool(chain.base and chain.base.kind == "nat")):
        if base := chain.base:
            for protocol in base.protocols or (None,):
                yield Hook(_table(base), base.hook.upper(), protocol, f"{names.PREFIX}{chain.name}")


def _table(base: tree.Base) -> str:
    """Which table of iptables has the hook at that time: raw is before connection tracking, filter has three hooks."""
    if base.kind == "nat":
        return "nat"
    if base.priority < CONNTRACK_PRIORITY:
        return "raw"
    return "mangle" if base.hook in ("prerouting", "postrouting") else "filter"


def _document(plan: Plan, tables: dict[str, dict[str, _Rules]]) -> str:
    lines = [f"# Instance {plan.instance}, configuration {plan.config_sha256}"]
    for table, chains in tables.items():
        lines += [f"*{table}", *(f":{name} - [0:0]" for name in chains)]
        lines += [f"-A {name} {rule}" for name, rules in chains.items() for rule in rules]
        lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def _removal(tables: dict[str, dict[str, _Rules]]) -> str:
    lines = []
    for table, chains in tables.items():
        lines += [f"*{table}", *(f":{name} - [0:0]" for name in chains), *(f"-X {name}" for name in chains), "COMMIT"]
    return "\n".join(lines) + "\n"


def _chains(plan: Plan, table: tree.Table, family: Family) -> dict[str, dict[str, _Rules]]:
    """Our chains by table of iptables: a chain belongs to that of the base chain that leads to it."""
    homes: dict[str, str] = {}
    for chain in table.chains:
        if chain.base:
            homes[chain.name] = _table(chain.base)
    waiting = list(homes)
    while waiting:
        chain = table.chain(waiting.pop())
        for rule in chain.rules:
            if isinstance(rule.verdict, (tree.Jump, tree.Goto)) and rule.verdict.chain not in homes:
                homes[rule.verdict.chain] = homes[chain.name]
                waiting.append(rule.verdict.chain)
    cgroups = {group.name: group.paths for group in table.sets if isinstance(group, tree.CgroupSet)}
    sets = Sets(by_set(plan), cgroups)
    found: dict[str, dict[str, _Rules]] = {}
    for name in _TABLES:
        ours = [chain for chain in table.chains if homes.get(chain.name) == name]
        if ours:
            found[name] = {
                f"{names.PREFIX}{chain.name}": [text for rule in chain.rules for text in _rule(rule, family, sets)]
                for chain in ours
            }
    return found


def _rule(rule: tree.Rule, family: Family, sets: Sets) -> Iterator[str]:
    comment = f'-m comment --comment "{rule.comment}" ' if rule.comment else ""
    refuses = isinstance(rule.verdict, tree.Reset)
    for parts in product(*(alternatives(match, family, sets) for match in rule.matches)):
        protocols = {part.protocol for part in parts if part.protocol} | ({"tcp"} if refuses else set())
        if len(protocols) > 1:
            continue
        words = [f"-p {protocol}" for protocol in protocols]
        words += [part.words for part in parts if part.words]
        if tracked := " ".join(part.conntrack for part in parts if part.conntrack):
            words.append(f"-m conntrack {tracked}")
        yield " ".join([comment.strip(), *words, target(rule.verdict, names.PREFIX)]).strip()
