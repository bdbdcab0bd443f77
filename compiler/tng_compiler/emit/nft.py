"""The plan as one nft file: the only place that writes nft syntax.

``table`` / ``delete table`` / ``table { }`` is one transaction, so a replace and a first load are the same operation
and no packet sees a half. Per entry: a chain that redirects (nat) and chains that refuse (filter), with the same
conditions over the same sets. A ``return`` in an entry's chain goes on to the next entry, which is what "the first in
the document wins" means.

Facts of nft 1.0.6 and Linux 6 that the text depends on:

- A nat chain sees the first packet of a connection only; conntrack picks up a connection in mid-stream and calls it
  new.
- Priorities are numeric and odd: at equal priorities the table that was loaded last would win. -105 is before the
  usual -100.
- ``redirect`` on an output hook goes to 127.0.0.1 or ::1, on prerouting to an address of the incoming interface.
- A lookup that lacks its operand (no socket, no conntrack) ends the rule without a match. So conditions are written as
  what must hold for *leaving* protection, never the other way round.
- A set of cgroups holds ids that nft found by path when it loaded; a cgroup that is made anew has another. So a third
  answer stands between inside and outside: not in ``known_cgroups``, and refused. A socket in a cgroup that is not that
  deep has no ancestor to compare, and is rightly neither.
- Sets of concatenations are not merged by nft; the plan's regions are disjoint already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from tng_compiler.plan.types import (
    BITS,
    EVERY_PORT,
    FAMILIES,
    Box,
    CgroupLevel,
    Family,
    Interception,
    OperatorSet,
    Plan,
    Ports,
    Region,
)

NAT_PRIORITY = -105
GUARD_PRIORITY = -5
_ADDRESS = {"ipv4": IPv4Address, "ipv6": IPv6Address}
_HEADER = {"ipv4": "ip", "ipv6": "ip6"}
_FLAGS = "tcp flags & (fin | syn | rst | ack)"
_STAYS = "fib daddr type { local, broadcast, anycast, multicast }"


def render(plan: Plan) -> str:
    """Return ``ruleset.nft``: what ``nft -f`` loads, and what the runtime loads byte for byte."""
    blocks = [*_counters(plan), *_sets(plan), *_entry_chains(plan), *_base_chains(plan)]
    body = "\n\n".join("\n".join(f"\t{line}" for line in block) for block in blocks)
    table = f"table inet {plan.instance}"
    return f"{_header(plan)}\n{table}\ndelete {table}\n\n{table} {{\n{body}\n}}\n"


def guard_table(plan: Plan) -> str:
    """Return the name of the table that the runtime makes and owns."""
    return f"{plan.instance}_guard"


def render_guard(plan: Plan) -> str:
    """Return ``guard.nft``: the guard chains once more, as commands for a table that is there and empty.

    There is no ``add table`` in it: the runtime makes that one with flags that nft 1.0.6 has no word for.
    """
    table = f"inet {guard_table(plan)}"
    chains = [block for block in (*_entry_chains(plan), *_base_chains(plan)) if _is_guard(block[0].split()[1])]
    lines = [f"add {block[0].split()[0]} {table} {_block(block)}" for block in (*_counters(plan), *_sets(plan))]
    for head, *body, _ in chains:
        base = [line.strip() for line in body if line.startswith("\ttype ")]
        lines.append(f"add chain {table} {head.split()[1]}" + "".join(f" {{ {line} }}" for line in base))
    for head, *body, _ in chains:
        rules = [line.strip() for line in body if not line.startswith("\ttype ")]
        lines += [f"add rule {table} {head.split()[1]} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def _is_guard(chain: str) -> bool:
    return chain.startswith("guard_") or "_guard" in chain or "_answers" in chain


def _block(block: list[str]) -> str:
    head, *rest = block
    return "\n".join((head.split(" ", 1)[1], *rest))


def _header(plan: Plan) -> str:
    entries = "".join(
        f"# {entry.pointer} -> port {entry.listen_port}, mark {entry.so_mark:#x}\n" for entry in plan.entries
    )
    return (
        f"#!/usr/sbin/nft -f\n# Instance {plan.instance}, made by tng {plan.compiler_version}\n"
        f"# from the configuration with SHA-256 {plan.config_sha256}.\n"
        f"# The manifest carries the digest of this file: compile again instead of editing.\n#\n{entries}"
    )


def _counters(plan: Plan) -> Iterator[list[str]]:
    yield [
        "counter direct_to_listener {",
        '\tcomment "connections that went to a listen port without the redirect"',
        "}",
    ]
    for entry in plan.entries:
        for what in ("captured", "rejected"):
            yield [f"counter {entry.name}_{what} {{", f"\tcomment {_quote(entry.pointer)}", "}"]


def _sets(plan: Plan) -> Iterator[list[str]]:
    for group in plan.operator_sets:
        key = f"typeof {_HEADER[group.family]} daddr"
        yield _set(group.name, key, "filled by the operator, kept when the table is replaced", (), ["auto-merge"])
    for number in plan.known_levels:
        comment = "filled by the runtime; a cgroup of this depth that is not in here reaches nothing captured"
        yield _set(known_set(number), f"typeof socket cgroupv2 level {number}", comment, (), interval=False)
    for entry in plan.entries:
        for name, level in cgroup_sets(entry):
            key = f"typeof socket cgroupv2 level {level.level}"
            yield _set(name, key, entry.pointer, [_quote(path) for path in level.paths], interval=False)
        for region in (*entry.captured, *entry.rejected):
            if region.boxes:
                key = f"typeof {_HEADER[region.family]} daddr . tcp dport"
                yield _set(_box_set(entry, region), key, entry.pointer, [_box(region.family, b) for b in region.boxes])


def known_set(level: int) -> str:
    """Return the name of the set of all cgroups of one depth."""
    return f"known_cgroups_{level}"


def cgroup_sets(entry: Interception) -> Iterator[tuple[str, CgroupLevel]]:
    """Yield the sets of the entry's own cgroups by name: inside ones first."""
    yield from ((_cgroups(entry, "inside", level), level) for level in entry.inside)
    yield from ((_cgroups(entry, "outside", level), level) for level in entry.outside)


def _set(
    name: str, key: str, comment: str, elements: Iterable[str], extra: Iterable[str] = (), *, interval: bool = True
) -> list[str]:
    lines = [f"set {name} {{", f"\t{key}", *(["\tflags interval"] if interval else [])]
    lines += [f"\t{word}" for word in extra] + [f"\tcomment {_quote(comment)}"]
    if joined := ",\n\t\t\t".join(elements):
        lines += ["\telements = {", f"\t\t{joined}", "\t}"]
    return [*lines, "}"]


def _box_set(entry: Interception, region: Region) -> str:
    return f"{entry.name}_{region.family}"


def _box(family: Family, box: Box) -> str:
    return f"{_interval(family, box.first, box.last)} . {_ports(box.ports)}"


def _interval(family: Family, first: int, last: int) -> str:
    address = _ADDRESS[family]
    size = last - first + 1
    if first == last:
        return str(address(first))
    if size & (size - 1) == 0 and first % size == 0:
        return f"{address(first)}/{BITS[family] - size.bit_length() + 1}"
    return f"{address(first)}-{address(last)}"


def _ports(ports: Ports) -> str:
    return str(ports.first) if ports.first == ports.last else f"{ports.first}-{ports.last}"


def _destinations(
    entry: Interception, regions: Iterable[Region], sets: Iterable[OperatorSet], side: str = "d"
) -> Iterator[str]:
    """Yield one match for each way to be inside: ``side`` is ``d``, or ``s`` for the destination of an answer."""
    regions = tuple(regions)
    everywhere: dict[tuple[Ports, ...], list[Family]] = {}
    for region in regions:
        if region.ports:
            everywhere.setdefault(region.ports, []).append(region.family)
    for ports, families in everywhere.items():
        family = "" if len(families) == len(FAMILIES) else f"meta nfproto {families[0]} "
        yield f"{family}{_port_match(ports, side)}"
    for region in regions:
        if region.boxes:
            yield f"{_HEADER[region.family]} {side}addr . tcp {side}port @{_box_set(entry, region)}"
    for group in sets:
        yield f"{_HEADER[group.family]} {side}addr @{group.name} {_port_match(group.ports, side)}"


def _port_match(ports: tuple[Ports, ...], side: str) -> str:
    if ports == (EVERY_PORT,):
        return "meta l4proto tcp"
    texts = [_ports(pair) for pair in ports]
    return f"tcp {side}port {texts[0]}" if len(texts) == 1 else f"tcp {side}port {{ {', '.join(texts)} }}"


def _entry_chains(plan: Plan) -> Iterator[list[str]]:
    for entry in plan.entries:
        # A nat chain cannot reject: accept keeps the packet from later entries, and the guard answers it.
        captured = [f"{match} accept" for match in _destinations(entry, entry.rejected, entry.rejected_sets)]
        captured += [
            f"{match} counter name {entry.name}_captured redirect to :{entry.listen_port}"
            for match in _destinations(entry, entry.captured, entry.captured_sets)
        ]
        local = entry.role == "egress" and not entry.local_traffic
        remote_only = ["fib saddr type local return"] if local else []
        regions, sets = (*entry.captured, *entry.rejected), (*entry.captured_sets, *entry.rejected_sets)
        untouched = [f"{match} accept" for match in _destinations(entry, regions, sets)]
        yield from _chains(entry, entry.name, remote_only, captured, untouched)
        yield from _chains(entry, f"{entry.name}_guard", remote_only, _rejections(entry, "d"))
        yield from _chains(entry, f"{entry.name}_answers", [], _rejections(entry, "s"))


def _rejections(entry: Interception, side: str) -> list[str]:
    regions, sets = (*entry.captured, *entry.rejected), (*entry.captured_sets, *entry.rejected_sets)
    return [
        f"{match} counter name {entry.name}_rejected reject with tcp reset"
        for match in _destinations(entry, regions, sets, side)
    ]


def _chains(
    entry: Interception, name: str, exempt: list[str], verdicts: list[str], unknown: list[str] | None = None
) -> Iterator[list[str]]:
    """Yield the chain of one entry and one purpose: who is exempt, who is meant, then which destinations.

    Several depths of ``capture_cgroup`` are alternatives, and a socket without a cgroup must match none of them: so
    each depth leads by ``goto`` to one chain with the destinations, instead of a negated match that returns.

    ``unknown``: the verdicts for a cgroup that is newer than the rules, which may be a captured one made anew; None is
    the same as for what is meant.
    """
    conditions = [
        *exempt,
        *(f"socket cgroupv2 level {lv.level} @{_cgroups(entry, 'outside', lv)} return" for lv in entry.outside),
    ]
    if entry.inside:
        conditions += [
            f"socket cgroupv2 level {lv.level} @{_cgroups(entry, 'inside', lv)} goto {name}_destinations"
            for lv in entry.inside
        ]
        yield _chain(f"{name}_destinations", _commented(verdicts, entry.pointer))
        if unknown is not None:
            yield _chain(f"{name}_unknown", _commented(unknown, entry.pointer))
        strangers = f"{name}_destinations" if unknown is None else f"{name}_unknown"
        verdicts = [
            f"socket cgroupv2 level {lv.level} != @{known_set(lv.level)} goto {strangers}" for lv in entry.inside
        ]
    yield _chain(name, _commented(conditions + verdicts, entry.pointer))


def _cgroups(entry: Interception, which: str, level: CgroupLevel) -> str:
    return f"{entry.name}_{which}_{level.level}"


def _base_chains(plan: Plan) -> Iterator[list[str]]:
    ingress, egress = plan.of("ingress"), plan.of("egress")
    local = [entry for entry in egress if entry.local_traffic]
    own = f"meta mark {_marks(plan)} return" + _comment("own sockets of the runtime")
    if local:
        yield _chain("capture_local", _jumps(local, ""))
    if ingress or local:
        stays = "fib daddr type { broadcast, anycast, multicast } return" if local else f"{_STAYS} return"
        rules = [own, stays + _comment("never captured by an ingress")]
        if local:
            rules.append("fib daddr type local goto capture_local" + _comment("sent by this host to itself"))
        yield _base("capture_output", f"nat hook output priority {NAT_PRIORITY}", rules + _jumps(ingress, ""))
    if egress:
        arrives = "fib daddr type != local return" + _comment("not for this host")
        yield _base(
            "capture_prerouting", f"nat hook prerouting priority {NAT_PRIORITY}", [own, arrives, *_jumps(egress, "")]
        )
    yield from _guard_output(plan, own)
    yield from _guard_input(plan, own)


def _guard_output(plan: Plan, own: str) -> Iterator[list[str]]:
    """What leaves the host in plaintext: requests to an ingress's destinations, answers of an egress's services."""
    ingress, egress = plan.of("ingress"), plan.of("egress")
    rules = [
        "meta l4proto != tcp return",
        own,  # first of all, for its packets are the most and a fib lookup costs more than a mark
        f"{_STAYS} return" + _comment("does not leave this host, or was redirected"),
        "tcp flags & rst == rst return" + _comment("ends a connection, carries nothing"),
    ]
    if egress:
        yield _chain(
            "guard_answers",
            [
                f"tcp sport {_listen_ports(egress)} ct status dnat return" + _comment("our listeners"),
                *_jumps(egress, "_answers"),
            ],
        )
        rules.append("ct direction reply goto guard_answers")
    else:
        rules.append("ct direction reply return" + _comment("answers of a connection that came in"))
    rules += _jumps(ingress, "_guard")
    if egress:
        rules += [
            "ct direction original ct state established,related return" + _comment("opened by this host"),
            f"{_FLAGS} == syn return" + _comment("opened by this host"),
            "goto guard_answers" + _comment("mid-stream or untracked: who opened it is unknown"),
        ]
    yield _base("guard_output", f"filter hook output priority {GUARD_PRIORITY}", rules)


def _guard_input(plan: Plan, own: str) -> Iterator[list[str]]:
    """What arrives: past the redirect to an egress's services, or straight to one of our listeners."""
    ingress, egress = plan.of("ingress"), plan.of("egress")
    listeners = _listen_ports(plan.entries)
    rules = [
        "meta l4proto != tcp return",
        "tcp flags & rst == rst return" + _comment("ends a connection, carries nothing"),
        "ct direction reply return" + _comment("answers of a connection that this host opened"),
        f"tcp dport {listeners} ct status dnat return" + _comment("came through the redirect"),
        f"tcp dport {listeners} counter name direct_to_listener reject with tcp reset"
        + _comment("listeners are not reachable directly"),
        own,
        *_jumps(egress, "_guard"),
    ]
    if ingress:
        yield _chain("guard_mid_stream", _jumps(ingress, "_answers"))
        rules.append(
            f"ct state new {_FLAGS} != syn goto guard_mid_stream"
            + _comment("older than the rules: would count as opened by the peer")
        )
    yield _base("guard_input", f"filter hook input priority {GUARD_PRIORITY}", rules)


def _jumps(entries: Iterable[Interception], suffix: str) -> list[str]:
    return [f"jump {entry.name}{suffix}" + _comment(entry.pointer) for entry in entries]


def _commented(rules: Iterable[str], pointer: str) -> list[str]:
    return [rule + _comment(pointer) for rule in rules]


def _listen_ports(entries: Iterable[Interception]) -> str:
    return f"{{ {', '.join(str(port) for port in sorted(entry.listen_port for entry in entries))} }}"


def _marks(plan: Plan) -> str:
    return f"{{ {', '.join(f'{mark:#010x}' for mark in plan.marks)} }}"


def _base(name: str, hook: str, rules: list[str]) -> list[str]:
    head, *rest = _chain(name, rules)
    return [head, f"\ttype {hook}; policy accept;", *rest]


def _chain(name: str, rules: list[str]) -> list[str]:
    return [f"chain {name} {{", *(f"\t{rule}" for rule in rules), "}"]


def _comment(text: str) -> str:
    return f" comment {_quote(text)}"


def _quote(text: str) -> str:
    """Quote a string. nft has no escape character: what cannot stand between quotes was refused long before."""
    assert not {'"', "\n"} & set(text)
    return f'"{text}"'
