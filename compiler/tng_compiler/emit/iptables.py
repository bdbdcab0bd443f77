"""The plan for hosts without nft: chains of our own in the nat and filter tables of both families, and ipsets.

The same structure as ``emit/nft``, rule for rule; that file says why. What differs: a rule has one family and one port
interval; sets hold prefixes, so address intervals are split into them; ports of a set are single, so each wider
interval has a set of its own. iptables-restore replaces the content of our chains in one step, and ``ipset swap`` that
of our sets, so loading again leaves no gap. What iptables cannot express is refused: see ``unsupported``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.emit.ipset import members, operator_lines, set_lines, set_names
from tng_compiler.plan.types import EVERY_PORT, FAMILIES, CgroupLevel, Family, Interception, OperatorSet, Plan, Ports

PREFIX = "tng"
# For IPv6 the kernel takes several types as conditions that must hold together (net/netfilter/xt_addrtype.c), for IPv4
# as alternatives; so every type has a rule. IPv6 has no broadcast.
_STAYS: dict[Family, tuple[str, ...]] = {
    "ipv4": ("LOCAL", "BROADCAST", "ANYCAST", "MULTICAST"),
    "ipv6": ("LOCAL", "ANYCAST", "MULTICAST"),
}
_ESTABLISHED = "-m conntrack --ctstate ESTABLISHED,RELATED --ctdir ORIGINAL"
_REDIRECTED = "-m conntrack --ctstate DNAT"
_Rules = list[str]
_CGROUPS_AGE = (
    "# iptables looks a cgroup up by its path when this runs. A captured one that is made anew later, as by a restart",
    "# of its unit, is not captured: IT SENDS IN PLAINTEXT until this runs again. The nft output refuses it instead.",
)


class CannotExpressError(Exception):
    """The plan has conditions that iptables has not; ``found`` names them."""

    def __init__(self, found: tuple[Diagnostic, ...]) -> None:
        super().__init__("; ".join(diagnostic.message for diagnostic in found))
        self.found = found


@dataclass(frozen=True, slots=True)
class Documents:
    """Texts for ``ipset restore`` (before and at removal), and per family for ``iptables-restore --noflush``."""

    ipset: str
    ipset_removal: str
    rules: dict[Family, str]
    removal: dict[Family, str]
    hooks: tuple[tuple[str, str, str], ...]


def unsupported(plan: Plan) -> tuple[Diagnostic, ...]:
    """Return an error for each condition that iptables cannot express."""
    return tuple(
        Diagnostic(
            Code.NOT_IN_IPTABLES,
            Severity.ERROR,
            "expected conditions that iptables has, found cgroups on an egress: iptables cannot look up the service",
            Place(f"{entry.pointer}/netfilter/{'capture_cgroup' if entry.inside else 'nocapture_cgroup'}"),
            (),
            "use the nft output, or capture by port",
        )
        for entry in plan.of("egress")
        if entry.inside or entry.outside
    )


def doubtful(plan: Plan) -> tuple[Diagnostic, ...]:
    """Return a warning for each entry whose captured cgroup does not outlive a restart of its unit.

    xt_cgroup resolves a path when the rule is loaded and has no sets, so the third answer of ``emit/nft``, an unknown
    cgroup, cannot be told apart here.
    """
    return tuple(
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


def documents(plan: Plan) -> Documents:
    """Return the documents; raises ``CannotExpressError`` for what ``unsupported`` names."""
    if found := unsupported(plan):
        raise CannotExpressError(found)
    chains = {family: _chains(plan, family) for family in FAMILIES}
    return Documents(
        ipset="".join(f"{line}\n" for line in (*operator_lines(plan), *set_lines(plan))),
        ipset_removal="".join(f"destroy {name}\n" for name in set_names(plan)),
        rules={family: _document(plan, chains[family]) for family in FAMILIES},
        removal={family: _removal(chains[family]) for family in FAMILIES},
        hooks=_hooks(plan),
    )


def render(plan: Plan) -> str:
    """Return a script for sh that loads the documents, or removes everything when called with ``remove``."""
    texts = documents(plan)
    commands: dict[Family, str] = {"ipv4": "iptables", "ipv6": "ip6tables"}
    load = [_here("ipset restore", texts.ipset)] if texts.ipset else []
    load += [_here(f"{commands[family]}-restore -w --noflush", texts.rules[family]) for family in FAMILIES]
    remove = [_here(f"{commands[family]}-restore -w --noflush", texts.removal[family]) for family in FAMILIES]
    remove += [_here("ipset restore", texts.ipset_removal)] if texts.ipset_removal else []
    pairs = [(commands[family], *hook) for hook in texts.hooks for family in FAMILIES]
    return "\n".join(
        [
            "#!/bin/sh",
            f"# Instance {plan.instance}, made by tng {plan.compiler_version}",
            f"# from the configuration with SHA-256 {plan.config_sha256}.",
            "# Loads the rules, again and again if need be; with the argument `remove` it removes them.",
            *(_CGROUPS_AGE if plan.known_levels else ()),
            "set -eu",
            'hook() { "$1" -w -t "$2" -C "$3" -p tcp -j "$4" 2>/dev/null || "$1" -w -t "$2" -I "$3" -p tcp -j "$4"; }',
            'unhook() { while "$1" -w -t "$2" -D "$3" -p tcp -j "$4" 2>/dev/null; do :; done; }',
            'if [ "${1-load}" = remove ]; then',
            *(f"unhook {' '.join(hook)}" for hook in pairs),
            *remove,
            "exit 0",
            "fi",
            *load,
            *(f"hook {' '.join(hook)}" for hook in pairs),
            "",
        ]
    )


def _here(command: str, text: str) -> str:
    return f"{command} <<'END'\n{text}END"


def _hooks(plan: Plan) -> tuple[tuple[str, str, str], ...]:
    """Table, built-in chain and our chain; the guard first, so that nothing passes between the two."""
    hooks = [("filter", "OUTPUT", f"{PREFIX}_guard_output"), ("filter", "INPUT", f"{PREFIX}_guard_input")]
    if plan.of("ingress") or any(entry.local_traffic for entry in plan.entries):
        hooks.append(("nat", "OUTPUT", f"{PREFIX}_output"))
    if plan.of("egress"):
        hooks.append(("nat", "PREROUTING", f"{PREFIX}_prerouting"))
    return tuple(hooks)


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


def _chains(plan: Plan, family: Family) -> dict[str, dict[str, _Rules]]:
    nat: dict[str, _Rules] = {}
    guard: dict[str, _Rules] = {}
    for entry in plan.entries:
        _entry(nat, guard, entry, family)
    return {"nat": nat | _nat(plan, family), "filter": guard | _guard(plan, family)}


def _entry(nat: dict[str, _Rules], guard: dict[str, _Rules], entry: Interception, family: Family) -> None:
    name = f"{PREFIX}_{entry.name}"
    refused = [f"{match} -j ACCEPT" for match in _destinations(entry, family, "d", only="rejected")]
    redirect = f"-j REDIRECT --to-ports {entry.listen_port}"
    taken = [f"{match} {redirect}" for match in _destinations(entry, family, "d", only="captured")]
    remote = entry.role == "egress" and not entry.local_traffic
    exempt = ["-m addrtype --src-type LOCAL -j RETURN"] if remote else []
    reject = "-j REJECT --reject-with tcp-reset"
    nat |= _conditions(entry, name, exempt, refused + taken)
    guard |= _conditions(
        entry, f"{name}_guard", exempt, [f"{match} {reject}" for match in _destinations(entry, family, "d")]
    )
    guard |= _conditions(
        entry, f"{name}_answers", [], [f"{match} {reject}" for match in _destinations(entry, family, "s")]
    )


def _conditions(entry: Interception, name: str, exempt: _Rules, verdicts: _Rules) -> dict[str, _Rules]:
    rules = [*exempt, *(f"{match} -j RETURN" for match in _cgroups(entry.outside))]
    chains: dict[str, _Rules] = {}
    if entry.inside:
        chains[f"{name}_to"] = _commented(verdicts, entry.pointer)
        verdicts = [f"{match} -g {name}_to" for match in _cgroups(entry.inside)]
    return chains | {name: _commented(rules + verdicts, entry.pointer)}


def _cgroups(levels: Iterable[CgroupLevel]) -> Iterator[str]:
    for level in levels:
        for path in level.paths:
            # iptables-restore takes a backslash between quotes as an escape.
            escaped = path.replace("\\", "\\\\")
            yield f'-m cgroup --path "{escaped}"'


def _destinations(entry: Interception, family: Family, side: str, *, only: str = "") -> Iterator[str]:
    """Yield the matches; ``side`` ``d``, or ``s`` for the destination of an answer; ``only`` one verdict."""
    direction = "dst" if side == "d" else "src"
    regions = [*(entry.captured if only != "rejected" else ()), *(entry.rejected if only != "captured" else ())]
    for region in (region for region in regions if region.family == family):
        yield from (_port(ports, side) for ports in region.ports)
        for group in members(entry, region):
            ports = _port(group.ports, side) if group.ports else "-p tcp"
            flags = direction if group.ports else f"{direction},{direction}"
            yield f"{ports} -m set --match-set {group.name} {flags}"
    sets: list[OperatorSet] = [
        *(entry.captured_sets if only != "rejected" else ()),
        *(entry.rejected_sets if only != "captured" else ()),
    ]
    for named in (named for named in sets if named.family == family):
        yield from (f"{_port(ports, side)} -m set --match-set {named.name} {direction}" for ports in named.ports)


def _port(ports: Ports, side: str) -> str:
    if ports == EVERY_PORT:
        return "-p tcp"
    span = str(ports.first) if ports.first == ports.last else f"{ports.first}:{ports.last}"
    return f"-p tcp --{side}port {span}"


def _nat(plan: Plan, family: Family) -> dict[str, _Rules]:
    ingress, egress = plan.of("ingress"), plan.of("egress")
    local = [entry for entry in egress if entry.local_traffic]
    own = [f"-m mark --mark {mark:#x} -j RETURN" for mark in plan.marks]
    chains: dict[str, _Rules] = {}
    if local:
        chains[f"{PREFIX}_local"] = _jumps(local, "")
    if ingress or local:
        to_itself = [f"-m addrtype --dst-type LOCAL -g {PREFIX}_local"] if local else []
        chains[f"{PREFIX}_output"] = [*own, *to_itself, *_stays(family), *_jumps(ingress, "")]
    if egress:
        arrives = "-m addrtype ! --dst-type LOCAL -j RETURN"
        chains[f"{PREFIX}_prerouting"] = [*own, arrives, *_jumps(egress, "")]
    return chains


def _guard(plan: Plan, family: Family) -> dict[str, _Rules]:
    ingress, egress = plan.of("ingress"), plan.of("egress")
    own = [f"-m mark --mark {mark:#x} -j RETURN" for mark in plan.marks]
    answers, mid_stream = f"{PREFIX}_guard_answers", f"{PREFIX}_guard_mid"
    reset, reply = "-p tcp --tcp-flags RST RST -j RETURN", "-m conntrack --ctdir REPLY"
    chains: dict[str, _Rules] = {
        answers: [
            *(f"-p tcp --sport {entry.listen_port} {_REDIRECTED} -j RETURN" for entry in egress),
            *_jumps(egress, "_answers"),
        ],
        mid_stream: _jumps(ingress, "_answers"),
    }
    leaving = [*_stays(family), reset, *own, f"{reply} -g {answers}"]
    leaving += _jumps(ingress, "_guard")
    leaving += [f"{_ESTABLISHED} -j RETURN", "-p tcp --syn -j RETURN", f"-g {answers}"]
    arriving = [reset, f"{reply} -j RETURN"]
    for entry in plan.entries:
        arriving.append(f"-p tcp --dport {entry.listen_port} {_REDIRECTED} -j RETURN")
        arriving.append(f"-p tcp --dport {entry.listen_port} -j REJECT --reject-with tcp-reset")
    arriving += [*own, *_jumps(egress, "_guard"), f"-p tcp ! --syn -m conntrack --ctstate NEW -g {mid_stream}"]
    return chains | {f"{PREFIX}_guard_output": leaving, f"{PREFIX}_guard_input": arriving}


def _stays(family: Family) -> _Rules:
    return [f"-m addrtype --dst-type {kind} -j RETURN" for kind in _STAYS[family]]


def _jumps(entries: Iterable[Interception], suffix: str) -> _Rules:
    return [f'-m comment --comment "{entry.pointer}" -j {PREFIX}_{entry.name}{suffix}' for entry in entries]


def _commented(rules: Iterable[str], pointer: str) -> _Rules:
    return [f'-m comment --comment "{pointer}" {rule}' for rule in rules]
