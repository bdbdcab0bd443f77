"""``netfilter``: what one entry captures."""

from __future__ import annotations

import re

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Place
from tng_compiler.diagnostics.quoting import json_text
from tng_compiler.model.block import Block, Findings
from tng_compiler.model.destination import destinations
from tng_compiler.model.interfaces import interfaces
from tng_compiler.model.types import DEFAULT_SO_MARK, CgroupPath, Forwarded, Ipv6Mode, Netfilter, Role
from tng_schema import contract

_COMPONENT = re.compile(contract.CGROUP_COMPONENT, re.ASCII)
_PATH = re.compile(f"{contract.CGROUP_COMPONENT}(?:/{contract.CGROUP_COMPONENT})*", re.ASCII)
_NO_NAMES = frozenset({".", ".."})
_MAX_LEVEL = 255
"""The kernel refuses ``socket cgroupv2 level`` above it."""


def netfilter(block: Block, role: Role) -> Netfilter:
    """Build the capture of an entry; faults are reported, and what has one is left out."""
    local = role == "egress" and block.flag("capture_local_traffic")
    capture_cgroup = cgroups(block, "capture_cgroup")
    found = destinations(block, role, local=local)
    _check_said(block, found is not None and block.members["capture_dst"] == [], role)
    ipv6: Ipv6Mode = "capture"
    match block.text("ipv6"):
        case "reject":
            ipv6 = "reject"
        case "bypass":
            ipv6 = "bypass"
    forwarded: Forwarded = "reject"
    match block.text("forwarded"):
        case "capture":
            forwarded = "capture"
        case "bypass":
            forwarded = "bypass"
    return Netfilter(
        pointer=block.pointer,
        capture_dst=found.items if found else None,
        repeated=found.repeated if found else (),
        capture_cgroup=capture_cgroup,
        nocapture_cgroup=cgroups(block, "nocapture_cgroup"),
        capture_local_traffic=local,
        listen_port=block.integer("listen_port"),
        so_mark=block.integer("so_mark") or DEFAULT_SO_MARK,
        ipv6=ipv6,
        forwarded=forwarded,
        udp="bypass" if block.text("udp") == "bypass" else "reject",
        client_address="original" if block.text("client_address") == "original" else "tunnel",
        forwarded_interfaces=interfaces(block),
    )


def _check_said(block: Block, everything: bool, role: Role) -> None:
    cgroup = block.members.get("capture_cgroup")
    some_cgroup = cgroup not in (None, []) or (block.said("capture_cgroup") and cgroup is None)
    if some_cgroup:
        return
    if everything:
        what = "every TCP connection to other hosts" if role == "ingress" else "every TCP connection to this host"
        message = f"expected a selection, found an empty list: {what} is captured"
        block.findings.warn(
            Code.CAPTURE_ALL, block.value_at("capture_dst"), message, "name the ports or hosts if that is not meant"
        )
    elif not block.said("capture_dst"):
        message = "expected `capture_dst` or `capture_cgroup` to say what is captured, found neither"
        help_ = 'write "capture_dst": {"port": 8080} for one port, or "capture_dst": [] for all TCP'
        block.findings.error(Code.CAPTURE_UNSAID, Place(block.pointer), message, help_)


def cgroups(block: Block, name: str) -> tuple[CgroupPath, ...]:
    """Return the paths of a list, or of the one string in its place."""
    findings = block.findings
    built = (_cgroup(findings, pointer, path) for pointer, path in block.texts(name) if not findings.full)
    return tuple(path for path in built if path)


def _cgroup(findings: Findings, pointer: str, text: str) -> CgroupPath | None:
    """Normalize a path: relative to the cgroup2 root, single slashes, none at the ends.

    The components that pass are those of systemd (systemd.unit(5), its ``\\x2d`` escapes included) and of container
    runtimes; quotes, spaces, semicolons and braces mean something to nft and are in nobody's cgroup names.
    """
    components = [component for component in text.split("/") if component]
    path = "/".join(components)
    if len(components) <= _MAX_LEVEL and _PATH.fullmatch(path) and _NO_NAMES.isdisjoint(components):
        return CgroupPath(pointer, path, len(components))
    place = Place(pointer)
    if not components:
        message = f"expected a cgroup below the root, found {json_text(text)}"
        findings.error(Code.BAD_CGROUP_PATH, place, message, "the root holds every process: leave the list out")
        return None
    for component in components:
        if component in _NO_NAMES:
            message = f"expected the path itself, found {json_text(text)} with `{component}`"
            findings.error(Code.BAD_CGROUP_PATH, place, message, "write the path from the root")
            return None
        if not _COMPONENT.fullmatch(component):
            message = f"expected a cgroup name of letters, digits and _.@:+,=~\\-, found {json_text(component)}"
            findings.error(
                Code.BAD_CGROUP_PATH, place, message, "write it as `systemctl show -P ControlGroup UNIT` does"
            )
            return None
    message = f"expected a path of at most {_MAX_LEVEL} levels, found {len(components)}"
    findings.error(Code.BAD_CGROUP_PATH, place, message)
    return None
