"""The plan: what will be done, as values, with nothing left to decide and nothing of nft or iptables in it.

Every emitter reads this and only this, so two outputs cannot disagree about what is captured. Addresses are integers,
because a walk over 100,000 ``ipaddress`` objects costs more than the kernel needs to load the result.
"""

from __future__ import annotations

from dataclasses import dataclass

from tng_compiler.algebra.space import FAMILIES, Family, Ports, Region
from tng_compiler.model.types import (
    Attest,
    ClientAddress,
    Control,
    DoorMode,
    Forwarded,
    Ipv6Mode,
    ProxyProtocol,
    Role,
    Udp,
    Verify,
)
from tng_compiler.plan.interfaces import Takes
from tng_schema import contract
from tng_schema.contract import WayBack, way_back


@dataclass(frozen=True, slots=True)
class OperatorSet:
    """Destinations whose address is in a set that the operator fills at run time, at ``ports`` (disjoint, sorted)."""

    name: str
    family: Family
    ports: tuple[Ports, ...]


@dataclass(frozen=True, slots=True)
class CgroupLevel:
    """Cgroup paths of one depth, sorted: nft compares a socket's ancestor at exactly one depth at a time."""

    level: int
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interception:
    """One entry of the configuration, ready to be written down.

    ``captured`` goes to ``listen_port``; ``rejected`` (IPv6 in mode ``reject``) is answered with a reset.
    ``local_traffic``: an egress that also captures what this host sends to itself. ``attest`` and ``verify`` both None
    is ``no_ra``. ``forwarded`` and ``udp``: whether such packets to what is captured are refused, or pass in plaintext;
    forwarded ones may be captured as well, those that come by ``forwarded_interfaces`` (none: by bridges and veth).
    """

    name: str
    pointer: str
    role: Role
    listen_port: int
    so_mark: int
    ipv6: Ipv6Mode
    forwarded: Forwarded
    udp: Udp
    spares_dns: bool
    local_traffic: bool
    inside: tuple[CgroupLevel, ...]
    outside: tuple[CgroupLevel, ...]
    captured: tuple[Region, ...]
    rejected: tuple[Region, ...]
    captured_sets: tuple[OperatorSet, ...]
    rejected_sets: tuple[OperatorSet, ...]
    attest: Attest | None
    verify: Verify | None
    proxy_protocol: ProxyProtocol | None = None
    client_address: ClientAddress = "tunnel"
    forwarded_interfaces: tuple[str, ...] = ()

    @property
    def takes(self) -> Takes:
        """What it captures of what this host forwards. Whose cgroup that is nobody knows here."""
        return self.forwarded_interfaces if self.forwarded == "capture" and not self.inside else None

    @property
    def takes_forwarded(self) -> bool:
        """Whether it captures any of it."""
        return self.takes is not None

    @property
    def minds_forwarded(self) -> bool:
        """Whether it captures or refuses what this host forwards."""
        return self.role == "ingress" and self.forwarded != "bypass" and not self.inside

    @property
    def families(self) -> tuple[Family, ...]:
        """Families that the listener has to serve."""
        found = {region.family for region in self.captured if not region.empty}
        found |= {group.family for group in self.captured_sets}
        return tuple(family for family in FAMILIES if family in found)


@dataclass(frozen=True, slots=True)
class PlannedDoor:
    """One entry that captures nothing, ready to be written down: no rule is about it."""

    pointer: str
    role: Role
    so_mark: int
    mode: DoorMode
    attest: Attest | None
    verify: Verify | None
    proxy_protocol: ProxyProtocol | None


@dataclass(frozen=True, slots=True)
class Plan:
    """One instance: its table, the digest of the configuration as it was read, its entries in order of precedence.

    ``zone`` is the conntrack zone of what the runtime itself dials (1 to 65535): its connections and those of the
    applications may have the same addresses and ports one after the other, and must not be taken for each other.
    ``published_label`` and ``judged_label`` are bits of conntrack's labels (0 to 127): of connections that came for an
    address of this host, and of those whose first segment the guard of an egress let through.
    """

    instance: str
    compiler_version: str
    config_sha256: str
    zone: int
    published_label: int
    judged_label: int
    entries: tuple[Interception, ...]
    control: Control | None = None
    doors: tuple[PlannedDoor, ...] = ()

    @property
    def guard_table(self) -> str:
        """The table that the runtime owns while it lives: the guard once more."""
        return f"{self.instance}{contract.GUARD_SUFFIX}"

    @property
    def marks(self) -> tuple[int, ...]:
        """Marks of our own sockets, ascending: whatever carries one is never captured, by any entry."""
        return tuple(sorted({entry.so_mark for entry in self.entries}))

    @property
    def way_back(self) -> WayBack | None:
        """How answers to clients come back, if some egress dials from their addresses."""
        wanted = any(entry.client_address == "original" for entry in self.entries)
        return way_back(self.instance) if wanted else None

    @property
    def operator_sets(self) -> tuple[OperatorSet, ...]:
        """Each operator's set once, by name; ``ports`` are not meaningful here."""
        named = {
            group.name: OperatorSet(group.name, group.family, ())
            for entry in self.entries
            for group in (*entry.captured_sets, *entry.rejected_sets)
        }
        return tuple(named[name] for name in sorted(named))

    @property
    def asks_senders(self) -> bool:
        """Whether the cgroup of who sends decides about a connection, and not its addresses and ports alone."""
        return any(entry.inside or entry.outside for entry in self.entries)

    @property
    def known_levels(self) -> tuple[int, ...]:
        """Depths at which some entry captures by cgroup: cgroups newer than the rules are refused there."""
        return tuple(sorted({level.level for entry in self.entries for level in entry.inside}))

    @property
    def all_entries(self) -> tuple[Interception | PlannedDoor, ...]:
        """Those that capture, then those that are doors."""
        return (*self.entries, *self.doors)

    def of(self, role: Role) -> tuple[Interception, ...]:
        """The entries of one role, in the order of precedence."""
        return tuple(entry for entry in self.entries if entry.role == role)
