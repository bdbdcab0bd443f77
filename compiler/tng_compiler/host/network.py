"""The state of the network here: room for connections, and IPv6."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host.finding import NOTE, WARNING, Finding, in_document, on_host
from tng_compiler.plan.allocate import EPHEMERAL
from tng_compiler.plan.types import Plan

_CONNTRACK = "proc/sys/net/netfilter/nf_conntrack_count"
_FULL = 0.8


def conntrack(root: Path = Path("/")) -> Iterator[Finding]:
    """Whether the table of connections is nearly full: beyond its end the kernel drops what is new."""
    count, most = number(root / _CONNTRACK), number(root / "proc/sys/net/netfilter/nf_conntrack_max")
    if count is not None and most and count >= _FULL * most:
        yield on_host(
            Code.CONNTRACK_FULL,
            WARNING,
            f"/{_CONNTRACK}",
            str(count),
            f"expected room for connections, found {count} of {most} tracked",
            "sysctl -w net.netfilter.nf_conntrack_max=N, and keep it in /etc/sysctl.d",
        )


def client_ports(plan: Plan) -> Iterator[Finding]:
    """Whether clients of this host get ports that the rules take for those of services."""
    path = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first, last = EPHEMERAL
    with suppress(OSError, ValueError):
        low, high = (int(number) for number in path.read_text("ascii").split())
        if (low < first or high > last) and any(entry.udp == "reject" for entry in plan.of("ingress")):
            yield on_host(
                Code.CLIENT_PORTS,
                WARNING,
                str(path),
                f"{low} {high}",
                f"expected ports of clients from {first} to {last}, found {low} to {high}: what is sent from others "
                "over UDP may pass as an answer",
                f"sysctl -w net.ipv4.ip_local_port_range='{first} {last}', and keep it in /etc/sysctl.d",
            )


def ipv6(plan: Plan) -> Iterator[Finding]:
    """Whether IPv6 is captured where there is none."""
    if number(Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")) == 0:
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


def number(path: Path) -> int | None:
    """The number in a file of the kernel, None if there is none."""
    with suppress(OSError, ValueError):
        return int(path.read_text("ascii"))
    return None
