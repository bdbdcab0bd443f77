"""Documents and flows drawn by lot, near the boundaries of what the documents name; a seed gives the same ones again.

The ground is that of ``volley``: what leaves for others goes to 10.80.0.0/16 or fd80::/48, what arrives comes for
10.81.0.0/16 or fd81::/48.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from random import Random
from typing import Any, Literal

from tng_compiler.explain.flow import Runtime
from tng_compiler.model.types import Config, Network
from tng_compiler.pipeline import Backend, compile_bytes
from tng_compiler.plan.types import Plan

TREE = f"tng-drawn-{os.getpid()}"
APP, JOB, OTHER = f"{TREE}/app", f"{TREE}/app/job", f"{TREE}/other"
CGROUPS = ("", APP, JOB, OTHER)
PORTS = (22, 53, 80, 81, 82, 443, 1000, 1001, 1002, 8080, 8081)
SERVICE_CGROUPS = {port: CGROUPS[number % len(CGROUPS)] for number, port in enumerate(PORTS)}
"""Which cgroup the service on each port of the host is in."""
MARKS = (565, 566, 700)
MEMBER = {"ipv4": "10.80.0.9", "ipv6": "fd80::9"}
"""What the operator's set ``peers`` holds."""

Way = Literal["out", "in", "within", "through"]
_FAR = {"ipv4": "10.80.0.0", "ipv6": "fd80::"}
_NEAR = {"ipv4": "10.81.0.0", "ipv6": "fd81::"}
_WHOLE = {"ipv4": 16, "ipv6": 48}
_VERIFY = {"as_addr": "http://127.0.0.1:8081/", "policy_ids": ["default"]}
_ATTEST = {"aa_addr": "unix:///run/aa.sock"}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A document without errors, and what has the listen ports."""

    text: str
    plan: Plan
    config: Config
    runtime: Runtime


@dataclass(frozen=True, slots=True)
class Shot:
    """A first packet to send; ``cgroup`` is that of the sender, and of the service if it arrives."""

    way: Way
    protocol: Literal["tcp", "udp"]
    address: str
    port: int
    cgroup: str
    mark: int

    @property
    def family(self) -> str:
        """The family of ``address``."""
        return "ipv6" if ":" in self.address else "ipv4"

    def flow(self, runtime: str) -> str:
        """The shot in the language of flows, with nothing left open."""
        direction = {"out": "ingress", "in": "egress", "within": "egress from local", "through": "forwarded"}[self.way]
        place = f"[{self.address}]:{self.port}" if self.family == "ipv6" else f"{self.address}:{self.port}"
        held = {"ipv4": "set peers", "ipv6": "set peers6"}[self.family]
        words = [direction, self.protocol, "to", place, held if self.address in MEMBER.values() else "no set"]
        if self.way == "through":
            words.append("over eth0 outside")  # it goes on by the interface that it came by
        else:
            words.append(f"cgroup /{self.cgroup}")
        if self.mark:
            words.append(f"mark {self.mark}")
        return " ".join([*words, "runtime", runtime])

    def older(self, source: str, port: int, speaker: str, *, tracked: bool) -> str:
        """The shot as a connection that is older than the rules, from the client at ``source``."""
        place = f"[{source}]:{port}" if ":" in source else f"{source}:{port}"
        age = f"established {'tracked' if tracked else 'untracked'} {speaker} first"
        client = f"from {'local ' * (self.way == 'within')}{place}"
        return f"{self.flow('up').replace(' from local', '').replace(' to ', f' {client} to ')} {age}"


def document(lot: Random, backend: Backend) -> Drawn:
    """Draw a document that the backend can express."""
    while True:
        value: dict[str, list[object]] = {}
        for role in lot.choice([["ingress"], ["egress"], ["ingress"] * 2, ["ingress", "egress"], ["egress", "egress"]]):
            proof = {"verify": _VERIFY} if role == "ingress" else {"attest": _ATTEST}
            value.setdefault(f"add_{role}", []).append({"netfilter": _netfilter(lot, role), **proof})
        text = json.dumps(value)
        outcome = compile_bytes("drawn.json", text.encode(), backend=backend)
        if outcome.plan and outcome.config:
            return Drawn(text, outcome.plan, outcome.config, lot.choice(_RUNTIMES))


_RUNTIMES: tuple[Runtime, ...] = ("up", "up", "up", "up", "up", "up", "down", "squatted")


def _netfilter(lot: Random, role: str) -> dict[str, Any]:
    items = [_item(lot, role) for _ in range(lot.choice([0, 1, 1, 2, 3, 5]))]
    found: dict[str, Any] = {"capture_dst": items}
    if lot.random() < 0.35:
        found["capture_cgroup"] = lot.sample([f"/{path}" for path in CGROUPS[1:]], lot.choice([1, 1, 2]))
    if lot.random() < 0.25:
        found["nocapture_cgroup"] = [f"/{lot.choice(CGROUPS[1:])}"]
    if lot.random() < 0.4:
        found["ipv6"] = lot.choice(["reject", "bypass"])
    if lot.random() < 0.3:
        found["udp"] = "bypass"
    if lot.random() < 0.3:
        found["so_mark"] = lot.choice(MARKS)
    if role == "ingress" and lot.random() < 0.3:
        found["forwarded"] = "bypass"
    elif role == "ingress" and "capture_cgroup" not in found and lot.random() < 0.6:
        found["forwarded"] = "capture"
        found["forwarded_interfaces"] = lot.choice([[], ["eth0"], ["eth0", "docker0"], ["eth*"], ["docker0"]])
    if role == "egress" and lot.random() < 0.5:
        found["capture_local_traffic"] = True
    return found


def _item(lot: Random, role: str) -> dict[str, Any]:
    item: dict[str, Any] = {}
    kind = lot.random()
    if kind < 0.1 and role == "ingress":
        item["ipset"] = "peers"
    elif kind < 0.75:
        item["host"] = _network(lot, role)
    if "host" not in item or lot.random() < 0.7:
        first, last = sorted((lot.choice(PORTS), lot.choice(PORTS)))
        item["port"] = first
        if lot.random() < 0.3 and last > first:
            item["port_end"] = last
    return item


def _network(lot: Random, role: str) -> str:
    family = lot.choice(["ipv4", "ipv6"])
    base = ip_address((_FAR if role == "ingress" else _NEAR)[family])
    longest = 32 if family == "ipv4" else 128
    address = base + lot.randrange(1, 32)
    return str(ip_network(f"{address}/{longest - lot.choice([0, 0, 1, 2, 3, 4, 8])}", strict=False))


def shots(lot: Random, drawn: Drawn, count: int) -> list[Shot]:
    """Draw flows: addresses and ports at the edges of what the document names, one step inside and outside."""
    items = [(entry.role, item) for entry in drawn.config.entries for item in entry.netfilter.capture_dst or ()]
    networks = {
        role: [item.network for at, item in items if at == role and item.network] for role in ("ingress", "egress")
    }
    named = sorted({port for _, item in items if item.ports for port in (item.ports.first, item.ports.last)})
    marks = sorted({entry.so_mark for entry in drawn.plan.entries})
    return [_shot(lot, drawn, networks, named, marks) for _ in range(count)]


def _shot(
    lot: Random,
    drawn: Drawn,
    networks: dict[str, list[Network]],
    named: list[int],
    marks: list[int],
) -> Shot:
    roles = [entry.role for entry in drawn.plan.entries]
    likely: tuple[Way, ...] = ("out", "out", "through") if "ingress" in roles else ("in", "in", "within")
    way: Way = lot.choice([*likely, "out", "in", "within", "through"])
    protocol: Literal["tcp", "udp"] = "udp" if lot.random() < 0.15 else "tcp"
    family = lot.choice(["ipv4", "ipv6"])
    arrives = way in ("in", "within")
    near = [net for net in networks["egress" if arrives else "ingress"] if net.version == int(family[-1])]
    address = _address(lot, way, family, near)
    listeners = [entry.listen_port for entry in drawn.plan.entries]
    port = lot.choice([*PORTS, *named, *named])
    if not arrives and lot.random() < 0.3:
        port += lot.choice([-1, 1])
    if protocol == "tcp" and lot.random() < 0.08:
        port = lot.choice(listeners)
    cgroup = lot.choice(CGROUPS) if way in ("out", "within") else SERVICE_CGROUPS.get(port, "") if way == "in" else ""
    mark = lot.choice([*marks, 1]) if way in ("out", "within") and lot.random() < 0.15 else 0
    return Shot(way, protocol, address, port, cgroup, mark)


def _address(lot: Random, way: Way, family: str, near: list[Network]) -> str:
    if way == "within" and lot.random() < 0.2:
        return "127.0.0.1" if family == "ipv4" else "::1"
    if way in ("out", "through") and lot.random() < 0.1:
        return MEMBER[family]
    base = (_NEAR if way in ("in", "within") else _FAR)[family]
    ground = ip_network(f"{base}/{_WHOLE[family]}")
    if near and lot.random() < 0.8:
        net = lot.choice(near)
        edge = ip_address(lot.choice([net.first, net.last]) + lot.choice([-1, 0, 0, 1]))
    else:
        edge = ip_address(int(ground[0]) + lot.randrange(1, 64))
    first, last = int(ground[1]), int(ground[-1]) - 1
    return str(ip_address(min(max(int(edge), first), last)))
