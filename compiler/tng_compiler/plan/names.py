"""Names of what the rules define: each is made here, and ``sets`` lists those of a plan.

A name must be free in nft (words of its language are no names), and differ from every other set of its table and from
the operator's. For iptables, which shares its names with everybody, ``tng_`` stands before each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from tng_compiler.algebra.space import Family, Ports
from tng_compiler.plan.types import CgroupLevel, Interception, Plan
from tng_schema import contract

ASTRAY = "strayed_answers"
"""The counter of answers to our own sockets that would leave this host; the others are in ``contract``."""

LONGEST = 31
"""IPSET_MAXNAMELEN of linux/netfilter/ipset/ip_set.h, without its terminator."""

PREFIX = "tng_"
"""Before our names where they stand beside those of others: chains of iptables, ipsets of the kernel."""

FILLING = f"{PREFIX}filling"
"""The ipset that is filled beside its place and swapped in."""

_WORDS = """
accept add ah all and arp auto-merge bridge cgroup chain comment comp constant continue counter cpu create ct day
dccp define delete describe destroy device devices dnat drop dst dup dynamic ecn element elements eq esp ether
exists expires export exthdr fib flags flow flowtable flush frag fwd gc-interval ge get goto gt handle hbh hook hour
ibriport ibrname icmp icmpv6 igmp iif iifgroup iifname iiftype import include index inet insert interval ip ip6
ipsec jhash jump last le limit list ll log lshift lt map mark masquerade meta meter mh missing monitor ne netdev
nftrace nh not notrack numgen obriport obrname offload oif oifgroup oifname oiftype or osf pkttype policy position
priority queue quota random redefine redirect reject rename replace reset return rshift rt rt0 rt2 rtclassid rule
ruleset sctp secmark set size skgid skuid snat socket srh symhash synproxy table tcp th time timeout tproxy type
typeof udp udplite undefine update vlan vmap xor xt
"""
RESERVED = frozenset(_WORDS.split())
"""Words that nft 1.0.6 does not take as the name of a set, each tried, and those that later versions add."""


def operator(ipset: str, family: Family) -> str:
    """The set with the addresses of one family of the operator's ``ipset``."""
    return ipset if family == "ipv4" else f"{ipset}6"


def known(level: int) -> str:
    """The set of all cgroups of one depth."""
    return f"known_cgroups_{level}"


def cgroups(entry: Interception, which: Literal["inside", "outside"], level: CgroupLevel) -> str:
    """The set of an entry's own cgroups of one depth."""
    return f"{entry.name}_{which}_{level.level}"


def boxes(entry: Interception, family: Family) -> str:
    """The set of an entry's destinations of one family."""
    return f"{entry.name}_{family}"


def captured(entry: Interception) -> str:
    """The counter of connections that the entry redirected."""
    return f"{entry.name}{contract.CAPTURED}"


def arrived(entry: Interception) -> str:
    """The counter of connections that no filter of the host has kept from the entry's listener."""
    return f"{entry.name}{contract.ARRIVED}"


def rejected(entry: Interception) -> str:
    """The counter of packets that the entry's guard refused."""
    return f"{entry.name}{contract.REJECTED}"


def own_cgroups(entry: Interception) -> Iterator[tuple[str, CgroupLevel]]:
    """The sets of the entry's own cgroups by name: inside ones first."""
    yield from ((cgroups(entry, "inside", level), level) for level in entry.inside)
    yield from ((cgroups(entry, "outside", level), level) for level in entry.outside)


def ipset(entry: Interception, family: Family, ports: Ports | None) -> str:
    """The kernel's set with an entry's networks of one family: those at ``ports``, or with a port of their own each."""
    name = f"{PREFIX}{entry.name}_{family[-1]}"
    return name if ports is None else f"{name}_{ports.first}_{ports.last}"


def sets(plan: Plan) -> tuple[str, ...]:
    """The sets of the table that are ours, in the order of their definition."""
    found = [known(level) for level in plan.known_levels]
    for entry in plan.entries:
        found += [name for name, _ in own_cgroups(entry)]
        found += [boxes(entry, region.family) for region in (*entry.captured, *entry.rejected) if region.boxes]
    return tuple(found)
