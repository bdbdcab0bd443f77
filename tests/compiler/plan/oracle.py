"""Brute force: what a configuration says about one packet, straight from the manual, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tng_compiler.model.types import CaptureDst, CgroupPath, Entry


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as the capture conditions see it: ``cgroup`` empty is the root, ``local`` from this host to itself."""

    version: int
    address: int
    port: int
    cgroup: str = ""
    local: bool = False


def names(item: CaptureDst, packet: Packet) -> bool:
    """Whether one item of ``capture_dst`` has the packet's destination."""
    network = item.network
    if network is not None and network.version != packet.version:
        return False
    if network is not None and not network.first <= packet.address <= network.last:
        return False
    return item.ports is None or item.ports.first <= packet.port <= item.ports.last


def matches(entry: Entry, packet: Packet) -> bool:
    """Whether the entry, by itself, is about the packet (its IPv6 mode aside)."""
    netfilter = entry.netfilter
    if packet.local and entry.role == "egress" and not netfilter.capture_local_traffic:
        return False
    if netfilter.capture_cgroup and not _inside(packet.cgroup, netfilter.capture_cgroup):
        return False
    if _inside(packet.cgroup, netfilter.nocapture_cgroup):
        return False
    return not netfilter.capture_dst or any(names(item, packet) for item in netfilter.capture_dst)


def winner(entries: Sequence[Entry], packet: Packet) -> int | None:
    """The position of the first entry that matches."""
    return next((position for position, entry in enumerate(entries) if matches(entry, packet)), None)


def _inside(cgroup: str, paths: Sequence[CgroupPath]) -> bool:
    parts = cgroup.split("/") if cgroup else []
    return any(parts[: len(wanted := path.path.split("/"))] == wanted for path in paths)
