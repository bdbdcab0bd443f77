"""The rule tree as one nft file: the only place that writes nft syntax.

``table`` / ``delete table`` / ``table { }`` is one transaction, so a replace and a first load are the same operation
and no packet sees a half. Sets of concatenations are not merged by nft 1.0.6; the plan's regions are disjoint already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import assert_never

from tng_compiler.algebra.space import EVERY_PORT, Box, Family, Ports
from tng_compiler.algebra.text import span_text
from tng_compiler.plan.types import Plan
from tng_compiler.rules import tree
from tng_compiler.rules.lower import lower, owned_guard

_HEADER = {"ipv4": "ip", "ipv6": "ip6"}
_LOOPBACK = {"ipv4": "127.0.0.0/8", "ipv6": "::1"}
_RESETS = "forgotten_resets"
_BATCH = 1000
_LETTER = {"source": "s", "destination": "d"}


def render(plan: Plan) -> str:
    """Return ``ruleset.nft``: what ``nft -f`` loads, and what the runtime loads byte for byte."""
    table = lower(plan)
    blocks = [
        *(_counter(counter) for counter in table.counters),
        *_timeouts(table),
        *(_set(group) for group in table.sets),
        *(_chain(chain) for chain in table.chains),
    ]
    body = "\n\n".join("\n".join(f"\t{line}" for line in block) for block in blocks)
    head = f"table inet {table.name}"
    return f"{_header(plan, table.notes)}\n{head}\ndelete {head}\n\n{head} {{\n{body}\n}}\n"


def first_lines(plan: Plan, table: tree.Table) -> dict[str, int]:
    """Return for each chain the line of ``ruleset.nft`` (from 1) that its first rule stands on; a rule is one line."""
    line = _header(plan, table.notes).count("\n") + 6  # a blank line, the three heads with another, the first block
    line += sum(len(_counter(counter)) + 1 for counter in table.counters)
    line += sum(len(block) + 1 for block in _timeouts(table))
    for group in table.sets:
        line += len(_set_head(group)) + 4 + (_size(group) + 2 if _size(group) else 0)
    found: dict[str, int] = {}
    for chain in table.chains:
        found[chain.name] = line + (2 if chain.base else 1)
        line += len(chain.rules) + (4 if chain.base else 3)
    return found


def _size(group: tree.SetDefinition) -> int:
    match group:
        case tree.AddressSet():
            return len(group.boxes)
        case tree.CgroupSet():
            return len(group.paths)
        case tree.OperatorAddresses():
            return 0
        case _:
            assert_never(group)


def render_guard(plan: Plan) -> str:
    """Return ``guard.nft``: the guard once more, for a table that the runtime makes and owns while it lives.

    A table with an owner outlives ``nft flush ruleset`` and every hand but its owner's (nft(8), "owner"). Commands one
    by one instead of a block, because a block would also ask for the table, with flags that nft 1.0.6 cannot name.
    """
    table = owned_guard(lower(plan), plan.guard_table)
    head = f"inet {table.name}"
    commands = [f"counter {head} {c.name} {{ comment {_quote(c.comment)}; }}" for c in table.counters]
    for group in table.sets:
        commands.append(
            f"set {head} {group.name} {{ {'; '.join(_set_head(group))}; comment {_quote(group.comment)}; }}"
        )
        commands += [f"element {head} {group.name} {{ {', '.join(some)} }}" for some in _batches(_elements(group))]
    for chain in table.chains:
        commands.append(f"chain {head} {chain.name}" + (f" {{ {_hook(chain.base)} }}" if chain.base else ""))
    for chain in table.chains:
        commands += [f"rule {head} {chain.name} {rule}" for rule in _rules(chain)]
    return _guard_header(plan) + "".join(f"add {command}\n" for command in commands)


def _batches(elements: Iterator[str]) -> Iterator[list[str]]:
    while some := list(islice(elements, _BATCH)):
        yield some


def _guard_header(plan: Plan) -> str:
    return (
        f"# The guard of instance {plan.instance} once more, for a table that tng-runtime makes and owns.\n"
        f"# By hand, `nft add table inet {plan.guard_table}` comes first.\n"
    )


def _header(plan: Plan, notes: Iterable[str]) -> str:
    lines = "".join(f"# {note}\n" for note in notes)
    return (
        f"#!/usr/sbin/nft -f\n# Instance {plan.instance}, made by tng {plan.compiler_version}\n"
        f"# from the configuration with SHA-256 {plan.config_sha256}.\n"
        f"# The manifest carries the digest of this file: compile again instead of editing.\n#\n{lines}"
    )


def _timeouts(table: tree.Table) -> list[list[str]]:
    """How long a redirected connection is remembered, where its sender's cgroup decided about it.

    The kernel remembers one that was reset for 10 s, and with it where its packets were led: whoever has the same port
    next is led there too, although he may be in another cgroup, and another entry's. The layer below TCP is not asked.
    """
    redirects = (
        rule.verdict for chain in table.chains for rule in chain.rules if isinstance(rule.verdict, tree.Redirect)
    )
    if not any(each.forgotten for each in redirects):
        return []
    policy = ("protocol tcp", "l3proto ip", "policy = { close : 0 }")
    return [[f"ct timeout {_RESETS} {{", *(f"\t{line}" for line in policy), "}"]]


def _counter(counter: tree.Counter) -> list[str]:
    return [f"counter {counter.name} {{", f"\tcomment {_quote(counter.comment)}", "}"]


def _set(group: tree.SetDefinition) -> list[str]:
    lines = [f"set {group.name} {{", *(f"\t{line}" for line in _set_head(group))]
    lines.append(f"\tcomment {_quote(group.comment)}")
    if joined := ",\n\t\t\t".join(_elements(group)):
        lines += ["\telements = {", f"\t\t{joined}", "\t}"]
    return [*lines, "}"]


def _set_head(group: tree.SetDefinition) -> tuple[str, ...]:
    match group:
        case tree.AddressSet():
            return f"typeof {_HEADER[group.family]} daddr . tcp dport", "flags interval"
        case tree.OperatorAddresses():
            return f"typeof {_HEADER[group.family]} daddr", "flags interval", "auto-merge"
        case tree.CgroupSet():
            return (f"typeof socket cgroupv2 level {group.level}",)
        case _:
            assert_never(group)


def _elements(group: tree.SetDefinition) -> Iterator[str]:
    match group:
        case tree.AddressSet():
            yield from (_box(group.family, box) for box in group.boxes)
        case tree.OperatorAddresses():
            return
        case tree.CgroupSet():
            yield from map(_quote, group.paths)
        case _:
            assert_never(group)


def _box(family: Family, box: Box) -> str:
    return f"{span_text(family, box.first, box.last)} . {_ports(box.ports)}"


def _ports(ports: Ports) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def _chain(chain: tree.Chain) -> list[str]:
    hook = [f"\t{_hook(chain.base)}"] if chain.base else []
    return [f"chain {chain.name} {{", *hook, *(f"\t{rule}" for rule in _rules(chain)), "}"]


def _hook(base: tree.Base) -> str:
    return f"type {base.kind} hook {base.hook} priority {base.priority}; policy accept;"


def _rules(chain: tree.Chain) -> Iterator[str]:
    return map(rule_text, chain.rules)


def rule_text(rule: tree.Rule) -> str:
    """Return the rule as its line in the file, without the indentation."""
    words = [_match(match) for match in rule.matches]
    if rule.counter:
        words.append(f"counter name {rule.counter}")
    words.append(_verdict(rule.verdict))
    if rule.comment:
        words.append(f"comment {_quote(rule.comment)}")
    return " ".join(words)


def _match(match: tree.Match) -> str:  # noqa: C901 - one case a kind of match
    match match:
        case tree.OfFamily(family):
            return f"meta nfproto {family}"
        case tree.AtPorts(_, ports, protocol, False) if ports == (EVERY_PORT,):
            return f"meta l4proto {protocol}"
        case tree.AtPorts(side, ports, protocol, negated):
            return f"{protocol} {_LETTER[side]}port {_not(negated)}{_one_or_set(map(_ports, ports))}"
        case tree.AtListener(side, listen_ports):
            return f"tcp {_LETTER[side]}port {_braces(map(str, listen_ports))}"
        case tree.InBoxes(side, name, family, protocol):
            letter = _LETTER[side]
            return f"{_HEADER[family]} {letter}addr . {protocol} {letter}port @{name}"
        case tree.InOperatorSet(side, name, family):
            return f"{_HEADER[family]} {_LETTER[side]}addr @{name}"
        case tree.InCgroup(level, name, negated):
            return f"socket cgroupv2 level {level} {_not(negated)}@{name}"
        case tree.SocketMark(_, marks, negated):
            return f"socket mark {_not(negated)}{_braces(f'{mark:#010x}' for mark in marks)}"
        case tree.ReceivedBySocket():
            return "socket wildcard { 0, 1 }"
        case tree.OverLoopback(way, negated):
            return f'{"iif" if way == "came" else "oif"} {_not(negated)}"lo"'
        case tree.CameBy(interfaces):
            return f"iifname {_one_or_set(map(_quote, interfaces))}"
        case tree.CameFromInside():
            return 'meta iifkind { "bridge", "veth" } fib daddr . iif oif missing'
        case tree.LeavesInside():
            # A tap is a tun interface that carries frames (tuntap.rst).
            return 'meta oifkind { "bridge", "veth", "tun" } meta oiftype ether'
        case tree.ToLoopbackAddress(family):
            return f"{_HEADER[family]} daddr {_LOOPBACK[family]}"
        case tree.AddressType(side, kinds, negated):
            return f"fib {_LETTER[side]}addr type {_not(negated)}{_one_or_set(kinds)}"
        case tree.TcpFlags(mask, wanted):
            masked = mask[0] if len(mask) == 1 else f"({' | '.join(mask)})"
            return f"tcp flags & {masked} == {' | '.join(wanted)}"
        case tree.Direction(way):
            return f"ct direction {way}"
        case tree.States(states):
            return f"ct state {','.join(states)}"
        case tree.Status(bit):
            return f"ct status {bit}"
        case tree.OpenedInZone(zone):
            return f"ct original zone {zone}"
        case tree.Labelled(label):
            return f"ct label {label}"
        case _:
            assert_never(match)


def _verdict(verdict: tree.Verdict) -> str:
    match verdict:
        case tree.Accept():
            return "accept"
        case tree.Return():
            return "return"
        case tree.Reset():
            return "reject with tcp reset"
        case tree.Unreachable():
            return "reject with icmpx port-unreachable"
        case tree.Drop():
            return "drop"
        case tree.SetZone(zone):
            return f"ct original zone set {zone}"
        case tree.SetLabel(label):
            return f"ct label set {label}"
        case tree.SetMark(mark):
            return f"meta mark set {mark:#010x}"
        case tree.Redirect(port, forgotten):
            timeout = f'ct timeout set "{_RESETS}" ' if forgotten else ""
            return f"{timeout}redirect to :{port}"
        case tree.Jump(chain):
            return f"jump {chain}"
        case tree.Goto(chain):
            return f"goto {chain}"
        case _:
            assert_never(verdict)


def _not(negated: bool) -> str:
    return "!= " if negated else ""


def _one_or_set(words: Iterable[str]) -> str:
    found = list(words)
    return found[0] if len(found) == 1 else _braces(found)


def _braces(words: Iterable[str]) -> str:
    return f"{{ {', '.join(words)} }}"


def _quote(text: str) -> str:
    """Quote a string. nft has no escape character: what cannot stand between quotes was refused long before."""
    assert not {'"', "\n"} & set(text)
    return f'"{text}"'
