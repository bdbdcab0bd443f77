"""Names of the operator's sets: whatever the compiler accepts loads, and stays the operator's."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

import pytest

from packets.attack import BACKENDS
from packets.cgroups import cgroups
from packets.run import tool
from tng_compiler.emit import iptables, nft
from tng_compiler.pipeline import Backend, compile_bytes
from tng_compiler.plan.types import Plan
from tng_demo.lab import Host, lab

pytestmark = [pytest.mark.netns, pytest.mark.timeout(120)]

TREE = f"tng-names-{os.getpid()}"
# As deep as an IPv6 set's suffix is, so that a name with a 6 behind it can be that of a set of cgroups.
DEEP, SHALLOW = f"{TREE}/2/3/4/5/6", TREE

OF_SETS = [
    *("known_cgroups_1", "known_cgroups_6", "known_cgroups_", "ingress_0_ipv", "ingress_0_ipv4", "ingress_0_ipv6"),
    *("ingress_0_inside_", "ingress_0_inside_1", "ingress_0_inside_6", "ingress_0_outside_", "ingress_1_ipv"),
    *("tng_filling", "tng_ingress_0_4", "tng_ingress_0_6", "tng_ingress_0_", "tng_ingress_0_4_8000_8099", "tng"),
]
OF_CHAINS = ["ingress_0", "ingress_0_guard", "ingress_0_captured", "guard_output", "direct_to_listener", "tng_output"]
WORDS = [
    *("icmpv", "ip", "ipv", "inet", "th", "ct", "socket", "meta", "fib", "counter", "last", "set", "map", "element"),
    *("elements", "type", "typeof", "flags", "comment", "tcp", "udp", "mark", "level", "return", "reject", "with"),
    *("local", "original", "reply", "established", "syn", "rst", "to", "name", "hook", "priority", "policy", "filter"),
    *("cgroupv2", "nfproto", "l4proto", "saddr", "daddr", "sport", "dport", "status", "state", "zone", "dnat", "lo"),
    *("test", "list", "add", "create", "destroy", "swap", "maxelem", "family", "timeout", "nomatch", "exist"),
    *("A", "_", "a.b", "a-b", "x" * 30, "mangle", "nat", "raw", "all", "any", "new", "untracked", "broadcast"),
]


def document(names: Sequence[str]) -> bytes:
    """One whose plan has sets of every kind beside those of the operator."""
    verify = {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}
    hosts = [{"host": host, "port": 8080} for host in ("192.0.2.0/24", "2001:db8::/32")]
    hosts += [{"host": host, "port": 8000, "port_end": 8099} for host in ("198.51.100.0/24", "2001:db9::/32")]
    own = {"capture_dst": [*hosts, *({"ipset": name, "port": 443} for name in names)]}
    inside = own | {"capture_cgroup": [DEEP, SHALLOW]}
    return json.dumps({"add_ingress": [{"netfilter": each, "verify": verify} for each in (inside, own)]}).encode()


def accepted(names: Sequence[str], backend: Backend) -> Plan | None:
    """The plan, or None if the compiler refuses the names."""
    return compile_bytes("config.json", document(names), backend=backend).plan


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*OF_SETS, *OF_CHAINS])
def test_a_name_like_one_of_ours_loads_or_is_refused(name: str, backend: Backend) -> None:
    """Twice, as at a reload. Rules of before: ``datatype mismatch`` and the like, for a document that passes check."""
    plan = accepted([name], backend)
    with cgroups(DEEP), lab("host", "peer") as hosts:
        for _ in range(2 if plan else 0):
            load(hosts["host"], plan, backend)


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_accepted_word_loads(backend: Backend) -> None:
    """All at once, each of which is accepted by itself. Rules of before: nft refuses ``icmpv6``."""
    names = [name for name in WORDS if accepted([name], backend)]
    assert len(names) > 20
    plan = accepted(names, backend)
    with cgroups(DEEP), lab("host", "peer") as hosts:
        load(hosts["host"], plan, backend)


@pytest.mark.parametrize("name", [name for name in OF_SETS if name.startswith("tng")])
def test_the_operators_ipset_is_never_ours_to_fill_or_to_remove(name: str) -> None:
    """Rules of before: loading empties ``tng_filling`` or fails, and removing destroys what has a name of ours."""
    plan = accepted([name], "iptables")
    with cgroups(DEEP), lab("host", "peer") as hosts:
        host = hosts["host"]
        if plan is None:
            return
        tool(host, f"create {name} hash:net\nadd {name} 203.0.113.7\n", "ipset", "restore")
        for argv in (("sh",), ("sh",), ("sh", "-s", "remove")):
            tool(host, iptables.render(plan), *argv)
            members = tool(host, "", "ipset", "save", name).splitlines()
            assert [line for line in members if line.startswith("add")] == [f"add {name} 203.0.113.7"]


def load(host: Host, plan: Plan | None, backend: str) -> None:
    """Load a plan as a reader of the documents would."""
    assert plan is not None
    if backend == "nft":
        tool(host, nft.render(plan), "nft", "-f", "-")
    else:
        tool(host, iptables.render(plan), "sh")
