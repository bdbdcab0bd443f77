"""Two containers on a bridge of a host, as container engines connect them: .2 and .3 of its networks."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from packets import container_rules as rules
from packets.attack import cable, sysctl
from packets.wire import FAMILIES
from tng_demo.lab import Host, Lab

_LENGTHS = {"ipv4": 16, "ipv6": 64}


@dataclass(frozen=True, slots=True)
class Containers:
    """``pod`` is the one whose port is published."""

    pod: Host
    other: Host


@contextlib.contextmanager
def containers(lab: Lab, host: Host) -> Iterator[Containers]:
    """Build the bridge and the containers; the host forwards for them, and nothing is translated yet."""
    host.run("ip", "link", "add", rules.BRIDGE, "type", "bridge")
    _addresses(host, rules.BRIDGE, rules.GATEWAY)
    built = []
    for name, addresses in (("pod", rules.CONTAINER), ("other", rules.SECOND)):
        container = made(lab, host, name)
        cable(host, f"veth-{name}", container, "eth0")
        host.run("ip", "link", "set", f"veth-{name}", "master", rules.BRIDGE, "up")
        _addresses(container, "eth0", addresses)
        for family in FAMILIES:
            container.run("ip", f"-{family[-1]}", "route", "add", "default", "via", rules.GATEWAY[family])
        built.append(container)
    sysctl(host, ipv4__ip_forward="1", ipv6__conf__all__forwarding="1")
    yield Containers(*built)


def made(lab: Lab, host: Host, name: str) -> Host:
    """One more host without cables; it goes with the lab."""
    space = f"tng-{lab.name}-{name}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    state = host.state.parent / name
    (state / "run").mkdir(parents=True)
    container = Host(name, space, "", "", state)
    container.run("ip", "link", "set", "lo", "up")
    return container


def _addresses(host: Host, device: str, addresses: dict[str, str]) -> None:
    for family, length in _LENGTHS.items():
        nodad = ("nodad",) if family == "ipv6" else ()
        host.run("ip", "addr", "add", f"{addresses[family]}/{length}", "dev", device, *nodad)
    host.run("ip", "link", "set", device, "up")
