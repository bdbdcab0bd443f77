"""Rules of others: what comes before ours, what removes them, and other instances of ours."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host import nft
from tng_compiler.host.finding import WARNING, Finding, on_host
from tng_compiler.rules.lower import NAT_PRIORITY
from tng_schema import contract

_UNIT = "nftables.service"


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
    done = nft.run("--json", "list", "chains")
    try:
        found = json.loads(done.stdout)["nftables"] if done and done.returncode == 0 else []
    except (ValueError, KeyError):
        return []
    return [item["chain"] for item in found if "chain" in item]
