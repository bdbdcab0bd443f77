"""Captures that mean less, or reach further, than their author will think: one function a hazard."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Set
from itertools import chain

from tng_compiler.algebra.cgroups import around, within
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Note, Place, Severity
from tng_compiler.model.types import CaptureDst, Config, Entry, Role
from tng_compiler.plan.forwarded import forwarded
from tng_compiler.plan.items import DNS_PORT, ports_of, spares_dns, with_dns
from tng_compiler.plan.services import captured_services

KNOWN_MARKS = {
    0x4000: "kube-proxy",
    0x8000: "kube-proxy",
    0x40000: "Tailscale",
    0x80000: "Tailscale",
    0x200: "Cilium",
    0xA00: "Cilium",
    0xE00: "Cilium",
    1337: "Istio",
    51820: "wg-quick",
}
"""Marks that widely used programs put on packets of others, by their documentation."""

_BROAD = {4: 16, 6: 48}
_SENSITIVE = {DNS_PORT: "DNS over TCP", 22: "SSH"}


def hazards(config: Config) -> Iterator[Iterator[Diagnostic]]:
    """Yield, for each entry, what it should not do by itself, or beside the trust settings of the document."""
    services = captured_services(config)
    named = {(entry.role, version) for entry in config.entries for version in _BROAD if _reaches(entry, version)}
    return (
        chain(_of_entry(entry), services.get(entry.pointer, ()), _one_family(entry, named)) for entry in config.entries
    )


def _of_entry(entry: Entry) -> Iterator[Diagnostic]:
    yield from _cgroup_conditions(entry)
    yield from forwarded(entry.netfilter)
    yield from _nothing_captured(entry)
    yield from _well_known_mark(entry)
    yield from _broad(entry)
    yield from _passing_by(entry)
    if entry.netfilter.ipv6 == "bypass" and _reaches(entry, 6):
        message = "expected IPv6 to be captured as IPv4 is, found `bypass`: it leaves and arrives in plaintext"
        yield _warn(Code.IPV6_OPEN, f"{entry.netfilter.pointer}/ipv6", message, "use `capture`, or `reject`")


def _nothing_captured(entry: Entry) -> Iterator[Diagnostic]:
    netfilter = entry.netfilter
    if netfilter.ipv6 != "capture" and not _reaches(entry, 4):
        message = f"expected something to capture, found IPv6 destinations only, with `ipv6: {netfilter.ipv6}`"
        yield _error(Code.CAPTURES_NOTHING, f"{netfilter.pointer}/ipv6", message, "use `capture`, or name IPv4 too")
    exempt = {path.path: path for path in netfilter.nocapture_cgroup[::-1]}
    dead = [path for path in netfilter.capture_cgroup if within(path.path, exempt)] if exempt else []
    for path in dead:
        other = next(exempt[parent] for parent in around(path.path) if parent in exempt)
        notes = (Note(Place(other.pointer), "this exempts it"),)
        message = f"expected a cgroup whose traffic is captured, found `{path.path}` inside of an exempt one"
        everything = len(dead) == len(netfilter.capture_cgroup)
        code = Code.CAPTURES_NOTHING if everything else Code.CGROUP_EXEMPT
        severity = Severity.ERROR if everything else Severity.WARNING
        yield Diagnostic(code, severity, message, Place(path.pointer), notes, "nocapture_cgroup always wins")
    wanted = {path.path for path in netfilter.capture_cgroup}
    below = sorted(f"{path}/" for path in wanted)
    for path in netfilter.nocapture_cgroup if wanted else ():
        first = f"{path.path}/"
        at = bisect_left(below, first)
        above = at < len(below) and below[at].startswith(first)
        if not above and not within(path.path, wanted):
            message = f"expected an exemption from what is captured, found `{path.path}` outside of capture_cgroup"
            yield _warn(Code.CGROUP_EXEMPT, path.pointer, message, "nothing of it would be captured anyway: remove it")


def _cgroup_conditions(entry: Entry) -> Iterator[Diagnostic]:
    netfilter = entry.netfilter
    if entry.role == "egress" and netfilter.capture_local_traffic:
        for path in (*netfilter.capture_cgroup, *netfilter.nocapture_cgroup)[:1]:
            message = (
                "expected cgroups or capture_local_traffic, found both: an egress tells by the cgroup of the service, "
                "and for what this host sends to itself the kernel shows only that of the sender"
            )
            place = f"{netfilter.pointer}/capture_local_traffic"
            yield _error(Code.LOCAL_TRAFFIC_BY_CGROUP, place, message, "use two entries", (path.pointer, "the cgroup"))


def _well_known_mark(entry: Entry) -> Iterator[Diagnostic]:
    if owner := KNOWN_MARKS.get(entry.netfilter.so_mark):
        message = f"expected a mark of our own, found {entry.netfilter.so_mark}, which {owner} puts on packets"
        advice = "whatever carries the mark is never captured; leave it at 565 or choose another"
        yield _warn(Code.MARK_OF_OTHERS, f"{entry.netfilter.pointer}/so_mark", message, advice)


def _broad(entry: Entry) -> Iterator[Diagnostic]:
    """One warning an entry: capturing port 53 or 22 everywhere, without saying so, locks people out."""
    netfilter = entry.netfilter
    if netfilter.capture_dst is None:
        return
    whole = netfilter.capture_dst == ()
    broad = [item for item in netfilter.capture_dst if _is_broad(item)]
    names = [
        name
        for port, name in _SENSITIVE.items()
        if (entry.role == "ingress" or port == 22)
        and (whole or any(first <= port <= last for first, last in map(ports_of, broad)))
    ]
    ssh = next((item for item in netfilter.capture_dst if item.ports == (22, 22) and _everywhere(item)), None)
    if ssh is not None and not names and not netfilter.capture_cgroup:
        message = "expected a broad capture to leave SSH alone, found port 22 of all hosts"
        advice = "administrators need TNG on both sides then; name the hosts that have it"
        if entry.role == "egress":
            message = "expected a capture to leave SSH alone, found port 22 of this host"
            advice = "whoever administers this host needs TNG as well then; leave another way in"
        yield _warn(Code.BROAD_CAPTURE, ssh.pointer, message, advice)
    if names and not netfilter.capture_cgroup:
        place = f"{netfilter.pointer}/capture_dst" if whole else broad[0].pointer
        peers = "peers that speak TNG" if entry.role == "ingress" else "clients that speak TNG"
        message = f"expected a broad capture to leave {' and '.join(names)} alone, found it inside"
        yield _warn(Code.BROAD_CAPTURE, place, message, f"only {peers} can be reached then; name hosts or ports")


def _one_family(entry: Entry, named: Set[tuple[Role, int]]) -> Iterator[Diagnostic]:
    """All of one family is named, and the other one by no entry of the role."""
    items = entry.netfilter.capture_dst or ()
    item = next((item for item in items if item.network and item.network.prefixlen == 0), None)
    if item is None or item.network is None or (entry.role, 10 - item.network.version) in named:
        return
    here, there = ("IPv4", "IPv6") if item.network.version == 4 else ("IPv6", "IPv4")
    twin = "::/0" if item.network.version == 4 else "0.0.0.0/0"
    message = f"expected both families, found every {here} address alone: {there} passes in plaintext"
    advice = f"name {twin} too" + (
        ", or leave `host` out to mean both" if item.ports else ', or write "capture_dst": []'
    )
    yield _warn(Code.FAMILY_OPEN, f"{item.pointer}/host", message, advice)


def _passing_by(entry: Entry) -> Iterator[Diagnostic]:
    """What goes to captured destinations without being captured: forwarded packets, UDP, and of refused UDP DNS."""
    netfilter = entry.netfilter
    if netfilter.forwarded == "bypass":
        message = "expected what this host forwards to be refused, found `bypass`: it passes in plaintext"
        yield _warn(Code.FORWARDED_OPEN, f"{netfilter.pointer}/forwarded", message, "use `reject`, or `capture`")
    if netfilter.udp == "bypass":
        message = "expected UDP for captured ports to be refused, found `bypass`: HTTP/3 passes in plaintext"
        yield _warn(Code.UDP_OPEN, f"{netfilter.pointer}/udp", message, "use `reject`: clients fall back to TCP")
        return
    if spares_dns(netfilter):
        place = netfilter.pointer if netfilter.capture_dst is None else f"{netfilter.pointer}/capture_dst"
        items = with_dns(netfilter)
        message = "expected all UDP for captured ports to be refused, found every port captured: DNS is left alone"
        advice = "UDP port 53 passes in plaintext; name it, or the ports that you mean"
        where = Place(items[0].pointer if items else place)
        yield Diagnostic(Code.DNS_SPARED, Severity.NOTE, message, where, (), advice)


def _is_broad(item: CaptureDst) -> bool:
    return _everywhere(item) and (item.ports is None or item.ports.first != item.ports.last)


def _everywhere(item: CaptureDst) -> bool:
    wide = item.network is None or item.network.prefixlen <= _BROAD[item.network.version]
    return item.ipset is None and wide


def _reaches(entry: Entry, version: int) -> bool:
    """Whether some destination of that IP version is named; sets have both."""
    items = entry.netfilter.capture_dst
    return not items or any(item.network is None or item.network.version == version for item in items)


def _warn(code: Code, pointer: str, message: str, advice: str, note: tuple[str, str] | None = None) -> Diagnostic:
    notes = (Note(Place(note[0]), note[1]),) if note else ()
    return Diagnostic(code, Severity.WARNING, message, Place(pointer), notes, advice)


def _error(code: Code, pointer: str, message: str, advice: str, note: tuple[str, str] | None = None) -> Diagnostic:
    notes = (Note(Place(note[0]), note[1]),) if note else ()
    return Diagnostic(code, Severity.ERROR, message, Place(pointer), notes, advice)
