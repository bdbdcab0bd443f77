"""Who sends through this host, and whether what is to be captured of it can be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tng_compiler.diagnostics.codes import Code
from tng_compiler.host.ask_ip import asked
from tng_compiler.host.finding import NOTE, WARNING, Finding, in_document
from tng_compiler.host.network import number
from tng_compiler.plan.interfaces import Incoming
from tng_compiler.plan.types import Interception, Plan

_MOST = 4
_INSIDE = ("bridge", "veth")
# What leads to a network card, or is one (no kind): rtnl_link_ops of drivers/net.
_CARDS = ("", "vlan", "bond", "team", "macvlan", "ipvlan")


@dataclass(frozen=True, slots=True)
class _Link:
    """``ports``: the kinds of what is on a bridge; ``addresses``: of families 4 and 6; ``out``: has a default route."""

    name: str
    kind: str
    master: str
    ports: tuple[str, ...]
    addresses: frozenset[int]
    out: bool


def forwarded(plan: Plan) -> Iterator[Finding]:
    """Whether containers or guests send through this host, and what an ingress does with that."""
    entries = plan.of("ingress")
    if any(entry.takes_forwarded for entry in entries):
        links = list(_links())
        for entry in entries:
            if entry.takes_forwarded:
                yield from _unusable(entry, links)
                yield from _leads_out(entry, links)
    bridges = [link["ifname"] for link in asked("link", "show", "type", "bridge") if "ifname" in link]
    others = [entry for entry in entries if not entry.takes_forwarded]
    if bridges and others and number(Path("/proc/sys/net/ipv4/ip_forward")) == 1:
        passes = others[0].forwarded == "bypass"
        yield in_document(
            Code.CONTAINERS_HERE,
            WARNING if passes else NOTE,
            f"{others[0].pointer}/netfilter",
            f"expected this host's own connections, found it forwarding for {_named(sorted(bridges))}: what comes from "
            f"there for captured destinations {'passes in plaintext' if passes else 'is refused'}",
            'write "forwarded": "capture", or run an ingress inside of the container or guest',
        )


def _unusable(entry: Interception, links: Sequence[_Link]) -> Iterator[Finding]:
    there = {link.name for link in links}
    absent = [name for name in entry.forwarded_interfaces if not name.endswith("*") and name not in there]
    where = f"{entry.pointer}/netfilter/{'forwarded_interfaces' if entry.forwarded_interfaces else 'forwarded'}"
    if absent:
        yield in_document(
            Code.INTERFACE_UNUSABLE,
            WARNING,
            where,
            f"expected the interfaces of this host, found none named {_named(absent)}",
            "`ip link` lists them; one that comes later is captured from as soon as it is there",
        )
    for family in entry.families:
        bare = [link.name for link in _taken(entry, links) if int(family[-1]) not in link.addresses]
        if bare:
            yield in_document(
                Code.INTERFACE_UNUSABLE,
                WARNING,
                where,
                f"expected an address of IPv{family[-1]} on each interface, found none on {_named(bare)}: "
                "what is captured from there is dropped",
                f"give it one: `ip addr add {'169.254.1.1/32' if family == 'ipv4' else 'fe80::1/64'} dev {bare[0]}`",
            )


def _leads_out(entry: Interception, links: Sequence[_Link]) -> Iterator[Finding]:
    out = [link for link in _taken(entry, links) if link.out or any(kind in _CARDS for kind in link.ports)]
    if out:
        yield in_document(
            Code.INTERFACE_LEADS_OUT,
            WARNING,
            f"{entry.pointer}/netfilter/{'forwarded_interfaces' if entry.forwarded_interfaces else 'forwarded'}",
            f"expected containers and guests alone behind the interfaces, found {_named([link.name for link in out])}, "
            "by which this host goes out: neighbours are captured like guests, in the name of this host",
            'name the others: "forwarded_interfaces": ["docker0", "br-*"]',
        )


def _taken(entry: Interception, links: Sequence[_Link]) -> list[_Link]:
    """What ``entry`` captures from. Ports of a bridge are none: what comes by them comes by the bridge."""
    return [
        link
        for link in links
        if not link.master and Incoming(link.name, link.kind in _INSIDE).taken(entry.takes) and link.name != "lo"
    ]


def _links() -> Iterator[_Link]:
    found = {str(link.get("ifname")): link for link in asked("-details", "link", "show")}
    addresses: dict[str, set[int]] = {}
    for link in asked("address", "show"):
        kinds = {4 if one.get("family") == "inet" else 6 for one in link.get("addr_info", ())}
        addresses[str(link.get("ifname"))] = kinds
    out = {str(route.get("dev")) for family in ("-4", "-6") for route in asked(family, "route", "show", "default")}
    for name, link in found.items():
        ports = tuple(_kind(other) for other in found.values() if other.get("master") == name)
        yield _Link(
            name,
            _kind(link),
            str(link.get("master", "")),
            ports,
            frozenset(addresses.get(name, ())),
            name in out,
        )


def _kind(link: dict[str, Any]) -> str:
    return str(link.get("linkinfo", {}).get("info_kind", ""))


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST]) + (" and others" if len(names) > _MOST else "")
