"""Configurations as values, for tests of the stages after the model: only what they capture differs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tng_compiler.model.types import (
    CaptureDst,
    CgroupPath,
    ClientAddress,
    Config,
    Entry,
    Forwarded,
    Ipv6Mode,
    Netfilter,
    Network,
    PortRange,
    Role,
    Service,
    Udp,
    Verify,
)

Destination = dict[str, Any]
VERIFY = Verify(
    "background_check", Service("http://127.0.0.1:8081/", ()), ("default",), (), skip_as_token_cert_verify=False,
    issuer=None, max_session_age=None,
)  # fmt: skip


def config(*entries: Entry) -> Config:
    """A document with these entries: ingress before egress."""
    return Config(tuple(sorted(entries, key=lambda entry: entry.role, reverse=True)))


def entry(
    role: Role,
    index: int,
    dst: Sequence[Destination] | None,
    *,
    cgroup: Sequence[str] = (),
    nocgroup: Sequence[str] = (),
    local: bool = False,
    listen_port: int | None = None,
    so_mark: int = 565,
    ipv6: Ipv6Mode = "capture",
    forwarded: Forwarded = "reject",
    udp: Udp = "reject",
    client_address: ClientAddress = "tunnel",
    interfaces: Sequence[str] = (),
    verify: Verify | None = VERIFY,
) -> Entry:
    """One entry; ``dst`` items have the members of ``capture_dst``: host, ipset, port, port_end."""
    pointer = f"/add_{role}/{index}"
    netfilter = Netfilter(
        pointer=f"{pointer}/netfilter",
        capture_dst=None if dst is None else tuple(_item(pointer, n, item) for n, item in enumerate(dst)),
        capture_cgroup=_cgroups(f"{pointer}/netfilter/capture_cgroup", cgroup),
        nocapture_cgroup=_cgroups(f"{pointer}/netfilter/nocapture_cgroup", nocgroup),
        capture_local_traffic=local,
        listen_port=listen_port,
        so_mark=so_mark,
        ipv6=ipv6,
        forwarded=forwarded,
        udp=udp,
        client_address=client_address,
        forwarded_interfaces=tuple(interfaces),
    )
    return Entry(role, index, pointer, netfilter, attest=None, verify=verify)


def _item(pointer: str, number: int, item: Destination) -> CaptureDst:
    host = item.get("host")
    port: int | None = item.get("port")
    return CaptureDst(
        pointer=f"{pointer}/netfilter/capture_dst/{number}",
        network=Network.of(host) if host else None,
        ipset=item.get("ipset"),
        ports=PortRange(port, item.get("port_end", port)) if port else None,
    )


def _cgroups(pointer: str, paths: Sequence[str]) -> tuple[CgroupPath, ...]:
    return tuple(CgroupPath(f"{pointer}/{n}", path, path.count("/") + 1) for n, path in enumerate(paths))
