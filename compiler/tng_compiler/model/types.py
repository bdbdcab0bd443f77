"""What the user said, as values: defaults applied, addresses and paths parsed, nothing allocated, nothing merged."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal, NamedTuple, Self

Role = Literal["ingress", "egress"]
RaModel = Literal["background_check", "passport"]
Ipv6Mode = Literal["capture", "reject", "bypass"]
Forwarded = Literal["reject", "capture", "bypass"]
Udp = Literal["reject", "bypass"]
ClientAddress = Literal["tunnel", "original"]
ProxyProtocol = Literal["v2"]
Unmatched = Literal["refuse", "direct"]

DEFAULT_SO_MARK = 565


class Network(NamedTuple):
    """A network, or one address. A tuple: there are many, and those of ``ipaddress`` take ten times as long to make."""

    version: Literal[4, 6]
    first: int
    prefixlen: int

    @property
    def last(self) -> int:
        """The last address."""
        return self.first | (1 << (32 if self.version == 4 else 128) - self.prefixlen) - 1

    @classmethod
    def of(cls, text: str) -> Self:
        """Read a network whose host bits are zero; raises ``ValueError``."""
        network = ip_network(text)
        return cls(network.version, int(network.network_address), network.prefixlen)

    def __str__(self) -> str:
        address = IPv4Address(self.first) if self.version == 4 else IPv6Address(self.first)
        return f"{address}/{self.prefixlen}"


class PortRange(NamedTuple):
    """Inclusive TCP ports, 1 to 65535."""

    first: int
    last: int


class CaptureDst(NamedTuple):
    """One item of ``capture_dst``: ``network`` and ``ipset`` exclude each other, ``ports`` None is every port."""

    pointer: str
    network: Network | None
    ipset: str | None
    ports: PortRange | None


@dataclass(frozen=True, slots=True)
class CgroupPath:
    """Relative to the cgroup2 root, no leading or trailing slash; ``level`` is its depth, from 1."""

    pointer: str
    path: str
    level: int


@dataclass(frozen=True, slots=True)
class Netfilter:
    """``capture_dst`` None: absent (then ``capture_cgroup`` is not empty); an empty tuple: ``[]``, all TCP.

    ``forwarded`` is what happens to packets that this host forwards to a captured destination, an ingress's only; if
    they are captured, those that come by ``forwarded_interfaces`` (names; a ``*`` at the end is any), none: by bridges
    and veth interfaces. ``udp`` is what happens to UDP for a captured destination and port. ``client_address``: whom
    the services of an egress see.
    """

    pointer: str
    capture_dst: tuple[CaptureDst, ...] | None
    capture_cgroup: tuple[CgroupPath, ...]
    nocapture_cgroup: tuple[CgroupPath, ...]
    capture_local_traffic: bool
    listen_port: int | None
    so_mark: int
    ipv6: Ipv6Mode
    forwarded: Forwarded
    udp: Udp
    client_address: ClientAddress = "tunnel"
    forwarded_interfaces: tuple[str, ...] = ()
    repeated: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class MappingRule:
    """Ports of ``host``, an address of this host, and where they lead: to as many ports of ``out_host``, an address or
    a name, from ``out_first`` on.
    """

    pointer: str
    host: IPv4Address | IPv6Address
    ports: PortRange
    out_host: str
    out_first: int


@dataclass(frozen=True, slots=True)
class Mapping:
    """Ports to connect to, instead of a capture."""

    pointer: str
    rules: tuple[MappingRule, ...]


@dataclass(frozen=True, slots=True)
class Socks5:
    """A SOCKS5 proxy on an address of this host; ``auth`` is a name and a password, None: everybody may connect."""

    pointer: str
    host: IPv4Address | IPv6Address
    port: int
    auth: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class DstFilter:
    """Destinations of a proxy: of ``domain``, ``regex`` and ``network`` at most one; all None is every destination.

    ``domain`` is in lower case, with ``*`` in front of it or behind it, or without.
    """

    pointer: str
    domain: str | None
    regex: str | None
    network: Network | None
    ports: PortRange


@dataclass(frozen=True, slots=True)
class HttpProxy:
    """An HTTP proxy on an address of this host. Any of ``filters``, which are not empty, takes a destination."""

    pointer: str
    host: IPv4Address | IPv6Address
    port: int
    filters: tuple[DstFilter, ...]
    unmatched: Unmatched


DoorMode = Mapping | Socks5 | HttpProxy
Mode = Netfilter | DoorMode
"""How connections come to an entry."""


@dataclass(frozen=True, slots=True)
class Service:
    """An attestation service that speaks restful-as.

    ``as_ca_paths``: who may sign the certificate of its HTTPS, and nobody else; empty: whom the host believes.
    """

    as_addr: str
    as_headers: tuple[tuple[str, str], ...]
    as_ca_paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attest:
    """How this side proves itself; ``service`` and ``policy_ids`` only in passport."""

    model: RaModel
    aa_path: str
    refresh_interval: int
    service: Service | None
    policy_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verify:
    """What is demanded of the peer; ``service`` None only in passport."""

    model: RaModel
    service: Service | None
    policy_ids: tuple[str, ...]
    trusted_certs_paths: tuple[str, ...]
    skip_as_token_cert_verify: bool
    issuer: str | None
    max_session_age: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of ``add_ingress`` or ``add_egress``. ``attest`` and ``verify`` both None: the user wrote ``no_ra``.

    ``proxy_protocol``: how an egress tells the service who its client is; None: not at all.
    """

    role: Role
    index: int
    pointer: str
    netfilter: Netfilter
    attest: Attest | None
    verify: Verify | None
    proxy_protocol: ProxyProtocol | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """One entry that captures nothing: programs, or peers, connect to it. Otherwise like ``Entry``."""

    role: Role
    index: int
    pointer: str
    mode: DoorMode
    attest: Attest | None
    verify: Verify | None
    proxy_protocol: ProxyProtocol | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """Where the control interface listens: an address, and a port."""

    pointer: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Config:
    """One document: the entries that capture, and those that are doors; each ingress before egress, in its order.

    ``control`` None: a unix socket alone.
    """

    entries: tuple[Entry, ...]
    control: Control | None = None
    doors: tuple[Door, ...] = ()
