"""Config to plan: allocation, exact collapse of destinations, and what a reviewer would have found.

The order of the document is the order of precedence. A condition becomes a match or a diagnostic; it is never dropped.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from tng_compiler import __version__
from tng_compiler.algebra.intervals import Interval, union
from tng_compiler.algebra.space import FAMILIES, Family, Ports, Region
from tng_compiler.algebra.union import MOST_ROWS, TooFragmentedError, collapse
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.model.types import CgroupPath, Config, Entry, Netfilter
from tng_compiler.plan import names
from tng_compiler.plan.allocate import INSTANCE, ZONE, labels, listen_ports
from tng_compiler.plan.analysis import analyse
from tng_compiler.plan.doors import planned
from tng_compiler.plan.interfaces import canonical
from tng_compiler.plan.items import ports_of, spans_of, spares_dns
from tng_compiler.plan.types import CgroupLevel, Interception, OperatorSet, Plan


def build_plan(config: Config, source_digest: str, instance: str = INSTANCE) -> tuple[Plan, tuple[Diagnostic, ...]]:
    """Return the plan of ``config`` for ``instance``, and what is wrong or surprising about it (codes ``TNG4xx``).

    ``source_digest`` is the SHA-256 of the text as it was read, 64 hexadecimal digits. With an error among the
    diagnostics the plan is not to be written down.
    """
    ports = listen_ports(config, instance)
    entries: list[Interception] = []
    touching: list[tuple[int, Family]] = []
    fragmented: list[Diagnostic] = []
    for position, (entry, port) in enumerate(zip(config.entries, ports, strict=True)):
        regions: dict[Family, Region] = {}
        hostless = not any(item.network for item in entry.netfilter.capture_dst or ())
        for family in FAMILIES:
            try:
                if hostless and regions:  # the same in both
                    regions[family] = replace(regions[FAMILIES[0]], family=family)
                else:
                    regions[family], overlapping = collapse(family, spans_of(entry.netfilter, family))
            except TooFragmentedError:
                regions[family], overlapping = Region(family, (), ()), False
                fragmented.append(_too_fragmented(entry))
            if overlapping:
                touching.append((position, family))
        entries.append(_interception(entry, port, regions))
    plan = Plan(
        instance,
        __version__,
        source_digest,
        ZONE,
        *labels(instance),
        tuple(entries),
        config.control,
        planned(config),
    )
    return plan, (*fragmented, *analyse(config, plan, touching))


def _too_fragmented(entry: Entry) -> Diagnostic:
    message = f"expected destinations that make at most {MOST_ROWS} disjoint rows of a set, found more"
    advice = "very many ports of a network are cut out of very many of its hosts: make them ranges, or name hosts only"
    place = Place(f"{entry.netfilter.pointer}/capture_dst")
    return Diagnostic(Code.TOO_FRAGMENTED, Severity.ERROR, message, place, (), advice)


def _interception(entry: Entry, listen_port: int, regions: dict[Family, Region]) -> Interception:
    netfilter = entry.netfilter
    sets = _operator_sets(netfilter)
    taken = FAMILIES if netfilter.ipv6 == "capture" else FAMILIES[:1]
    refused = FAMILIES[1:] if netfilter.ipv6 == "reject" else ()
    return Interception(
        name=f"{entry.role}_{entry.index}",
        pointer=entry.pointer,
        role=entry.role,
        listen_port=listen_port,
        so_mark=netfilter.so_mark,
        ipv6=netfilter.ipv6,
        forwarded=netfilter.forwarded,
        udp=netfilter.udp,
        spares_dns=spares_dns(netfilter),
        local_traffic=entry.role == "egress" and netfilter.capture_local_traffic,
        inside=_levels(netfilter.capture_cgroup),
        outside=_levels(netfilter.nocapture_cgroup),
        captured=tuple(regions[family] for family in taken if not regions[family].empty),
        rejected=tuple(regions[family] for family in refused if not regions[family].empty),
        captured_sets=tuple(group for family in taken for group in sets[family]),
        rejected_sets=tuple(group for family in refused for group in sets[family]),
        attest=entry.attest,
        verify=entry.verify,
        proxy_protocol=entry.proxy_protocol,
        client_address=netfilter.client_address,
        forwarded_interfaces=canonical(netfilter.forwarded_interfaces),
    )


def _operator_sets(netfilter: Netfilter) -> dict[Family, tuple[OperatorSet, ...]]:
    ports: defaultdict[str, list[Interval]] = defaultdict(list)
    for item in netfilter.capture_dst or ():
        if item.ipset is not None:
            ports[item.ipset].append(ports_of(item))
    known: dict[tuple[Interval, ...], tuple[Ports, ...]] = {}
    named: list[tuple[str, tuple[Ports, ...]]] = []
    for name in sorted(ports):
        pairs = tuple(union(ports.pop(name)))
        same = known.get(pairs) or known.setdefault(pairs, tuple(Ports(*pair) for pair in pairs))
        named.append((name, same))
    return {
        family: tuple(OperatorSet(names.operator(name, family), family, same) for name, same in named)
        for family in FAMILIES
    }


def _levels(paths: Iterable[CgroupPath]) -> tuple[CgroupLevel, ...]:
    levels: defaultdict[int, set[str]] = defaultdict(set)
    for path in paths:
        levels[path.level].add(path.path)
    return tuple(CgroupLevel(level, tuple(sorted(levels[level]))) for level in sorted(levels))
