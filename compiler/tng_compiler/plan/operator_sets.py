"""Names of the operator's sets (``ipset``): an nft set holds one family, so each name becomes two, NAME and NAME6."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import Config
from tng_compiler.plan.types import Family

LONGEST = 31
"""IPSET_MAXNAMELEN of linux/netfilter/ipset/ip_set.h, without its terminator."""

_OURS = re.compile(r"(ingress|egress)_\d+_(ipv[46]|(in|out)side_\d+)")

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


def set_name(ipset: str, family: Family) -> str:
    """Return the name of the set in our table."""
    return ipset if family == "ipv4" else f"{ipset}6"


def operator_sets(config: Config) -> Iterator[Diagnostic]:
    """Yield an error for each name that nft would not take, or that would stand for two sets."""
    named: dict[str, str] = {}
    for entry in config.entries:
        for item in entry.netfilter.capture_dst or ():
            if item.ipset is not None:
                named.setdefault(item.ipset, item.pointer)
    for name, pointer in named.items():
        place = f"{pointer}/ipset"
        if name in RESERVED or _OURS.fullmatch(name):
            message = f"expected a name that is free in nft, found `{name}`, which has a meaning there"
            yield _error(place, message, f"call it `{name}_addresses`, for example")
        if len(set_name(name, "ipv6")) > LONGEST:
            message = f"expected a name of at most {LONGEST - 1} characters, found {len(name)}"
            yield _error(place, message, "the set of its IPv6 addresses has a 6 appended")
        if other := named.get(set_name(name, "ipv6")):
            message = f"expected names whose IPv6 sets differ from other sets, found `{name}` and `{name}6`"
            yield _error(place, message, "rename one of them", Note(Place(f"{other}/ipset"), "the other name"))


def _error(pointer: str, message: str, advice: str, *notes: Note) -> Diagnostic:
    return Diagnostic(Code.SET_NAME_TAKEN, Severity.ERROR, message, Place(pointer), notes, advice)
