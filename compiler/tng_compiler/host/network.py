"""The state of the network here: room for connections, IPv6, and who else sends through this host."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host.finding import NOTE, WARNING, Finding, in_document, on_host
from tng_compiler.plan.types import Plan

_CONNTRACK = "proc/sys/net/netfilter/nf_conntrack_count"
_FULL = 0.8


def conntrack(root: Path = Path("/")) -> Iterator[Finding]:
    """Whether the table of connections is nearly full: beyond its end the kernel drops what is new."""
    count, most = _number(root / _CONNTRACK), _number(root / "proc/sys/net/netfilter/nf_conntrack_max")
    if count is not None and most and count >= _FULL * most:
        yield on_host(
            Code.CONNTRACK_FULL,
            WARNING,
            f"/{_CONNTRACK}",
            str(count),
            f"expected room for connections, found {count} of {most} tracked",
            "sysctl -w net.netfilter.nf_conntrack_max=N, and keep it in /etc/sysctl.d",
        )


def ipv6(plan: Plan) -> Iterator[Finding]:
    """Whether IPv6 is captured where there is none."""
    if _number(Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")) == 0:
        return
    for entry in plan.entries:
        if "ipv6" in entry.families:
            yield in_document(
                Code.IPV6_OFF,
                NOTE,
                entry.pointer,
                "expected IPv6 on this host, found it switched off",
                "nothing is to be done: it is listened for when it is switched on, and refused until then",
            )
            return


def forwarded(plan: Plan) -> Iterator[Finding]:
    """Whether containers or guests send through this host, which an ingress does not capture."""
    bridges = _bridges() if _number(Path("/proc/sys/net/ipv4/ip_forward")) == 1 else []
    if not bridges:
        return
    named = ", ".join(bridges[:4]) + (" and others" if len(bridges) > 4 else "")
    for entry in plan.entries:
        if entry.role == "ingress":
            passes = entry.forwarded == "bypass"
            yield in_document(
                Code.CONTAINERS_HERE,
                WARNING if passes else NOTE,
                f"{entry.pointer}/netfilter",
                f"expected this host's own connections, found it forwarding for {named}: what comes from there for "
                f"captured destinations {'passes in plaintext' if passes else 'is refused'}",
                "run an ingress inside of the container or guest: it captures what that sends itself",
            )
            return


def _bridges() -> list[str]:
    # /sys/class/net is of the network namespace in which it was mounted.
    environment = {"LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    with suppress(OSError, subprocess.TimeoutExpired, ValueError):
        command = ["ip", "-json", "link", "show", "type", "bridge"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=60)
        return sorted(str(link["ifname"]) for link in json.loads(done.stdout or "[]") if "ifname" in link)
    return []


def _number(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(path.read_text("ascii"))
    return None
