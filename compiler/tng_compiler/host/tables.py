"""Rules of others: what comes before ours, what removes them, and other instances of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import program
from tng_compiler.host.finding import ERROR, WARNING, Finding, on_host
from tng_compiler.plan.types import Plan
from tng_compiler.rules.lower import NAT_PRIORITY
from tng_schema import contract

_UNIT = "nftables.service"
OWN_ZONE = "own_zone"
"""The chain that knows the marks of an instance."""


def before_ours() -> Iterator[Finding]:
    """Nat chains that redirect before ours: the capture sees only where they sent the packet."""
    for chain in _chains():
        name, priority = f"{chain.get('family')} {chain.get('table')}", chain.get("prio")
        hooked = chain.get("type") == "nat" and chain.get("hook") in ("output", "prerouting")
        if not hooked or not isinstance(priority, int) or priority > NAT_PRIORITY:
            continue
        if re.fullmatch(contract.TABLE, str(chain.get("table"))):
            continue
        line = f"chain {name} {chain.get('name')} {{ type nat hook {chain.get('hook')} priority {priority}; }}"
        yield on_host(
            Code.NAT_BEFORE_OURS,
            WARNING,
            "nft list chains",
            line,
            f"expected nat chains of others after priority {NAT_PRIORITY}, found table {name} at {priority}",
            "what it redirects is never captured: give it a higher priority, or let it spare what is captured",
        )


def other_instances(plan: Plan) -> Iterator[Finding]:
    """Instances whose tables are here and that would be in the way of this one, or this one in theirs."""
    for name in sorted(instances() - {plan.instance}):
        if contract.slot(name) == contract.slot(plan.instance):
            yield on_host(
                Code.INSTANCES_MEET,
                ERROR,
                "nft list tables",
                f"table inet {name}",
                f"expected ports, labels and a way back for {plan.instance} alone, found them in use by {name}",
                "give one of the two another name",
            )
        apart = _marks(name) ^ set(plan.marks)
        if apart:
            shown = ", ".join(map(str, sorted(apart)))
            yield on_host(
                Code.MARKS_APART,
                WARNING,
                f"nft list chain inet {name} {OWN_ZONE}",
                f"table inet {name}",
                f"expected instances that spare each other's connections, found marks that only one knows: {shown}",
                "leave `so_mark` out in both documents: what an instance dials may be captured by the other",
            )


def instances() -> set[str]:
    """The tables of instances that are here."""
    done = program.run("nft", "list", "tables", "inet")
    found = re.findall(rf"^table inet ({contract.TABLE})$", done.stdout if done else "", re.MULTILINE)
    return {name for name, _ in found if not name.endswith(contract.GUARD_SUFFIX)}


def _marks(table: str) -> set[int]:
    done = program.run("nft", "list", "chain", "inet", table, OWN_ZONE)
    found = re.search(r"socket mark (?:\{([^}]*)\}|(\S+))", done.stdout if done else "")
    return {int(word.strip(), 16) for word in (found[1] or found[2]).split(",")} if found else set()


def removed_at_boot(root: Path = Path("/")) -> Iterator[Finding]:
    """Whether the firewall of the distribution flushes every table when it starts."""
    wanted = list(root.glob(f"etc/systemd/system/*.wants/{_UNIT}"))
    try:
        lines = (root / "etc/nftables.conf").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for number, line in enumerate(lines, 1):
        if wanted and re.match(r"\s*flush\s+ruleset\b", line):
            yield on_host(
                Code.FLUSHED_AT_BOOT,
                WARNING,
                "/etc/nftables.conf",
                line,
                f"expected a firewall that leaves tables of others alone, found `flush ruleset` in what {_UNIT} loads",
                "let it delete its own tables only, or start after it and restart with it",
                number,
            )


def _chains() -> list[dict[str, object]]:
    done = program.run("nft", "--json", "list", "chains")
    try:
        found = json.loads(done.stdout)["nftables"] if done and done.returncode == 0 else []
    except (ValueError, KeyError):
        return []
    return [item["chain"] for item in found if "chain" in item]
