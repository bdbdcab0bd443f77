"""The table of flows: what each configuration does with each packet, by protocol and by the manual.

``host`` (10.77.0.1, fd77::1) carries the rules, ``peer`` (10.77.0.2 and .3, fd77::2 and ::3) does not. Services run on
both, on every port of ``SERVICES``. An expectation names the entry that captures, or ``passed``, or ``reset``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from packets.make import config, entry
from tng_compiler.model.types import Config

Way = Literal["out", "in", "local"]
SERVICES = (22, 8080, 8443, 9000, 9005, 9010)
TREE = f"tng-test-{os.getpid()}"
APP, EXEMPT, OTHER = f"{TREE}/app", f"{TREE}/app/exempt", f"{TREE}/other"

CONFIGS: dict[str, Config] = {
    "ingress_port": config(entry("ingress", 0, [{"port": 8080}, {"port": 9000, "port_end": 9005}])),
    "ingress_host": config(
        entry(
            "ingress",
            0,
            [
                {"host": "10.77.0.2", "port": 8080},
                {"host": "10.77.0.2/31", "port": 9000, "port_end": 9009},
                {"host": "fd77::2"},
                {"host": "fd77::/64", "port": 9010},
            ],
        )
    ),
    "ingress_all": config(entry("ingress", 0, [])),
    "ingress_two": config(
        entry("ingress", 0, [{"host": "10.77.0.2", "port": 8080}, {"host": "fd77::2", "port": 8080}], so_mark=700),
        entry("ingress", 1, [{"port": 8080}, {"port": 8443}], so_mark=701),
    ),
    "ingress_cgroup": config(entry("ingress", 0, [{"port": 8080}], cgroup=[APP], nocgroup=[EXEMPT])),
    "ingress_cgroup_only": config(entry("ingress", 0, None, cgroup=[EXEMPT, OTHER])),
    "ingress_nocgroup": config(
        entry("ingress", 0, [{"port": 8080}], nocgroup=[APP]), entry("ingress", 1, [{"port": 8080}])
    ),
    "ingress_ipset": config(entry("ingress", 0, [{"ipset": "peers", "port": 8080}])),
    "ingress_reject6": config(
        entry("ingress", 0, [{"port": 8080}], ipv6="reject"), entry("ingress", 1, [{"port": 8080}, {"port": 8443}])
    ),
    "ingress_bypass6": config(entry("ingress", 0, [{"port": 8080}], ipv6="bypass")),
    "egress_port": config(entry("egress", 0, [{"port": 8080}])),
    "egress_original": config(entry("egress", 0, [{"port": 8080}], client_address="original")),
    "egress_local": config(entry("egress", 0, [{"port": 8080}], local=True)),
    "egress_local_all": config(entry("egress", 0, [], local=True)),
    "egress_host": config(entry("egress", 0, [{"host": "10.77.0.1", "port": 9000, "port_end": 9005}])),
    "egress_all": config(entry("egress", 0, [])),
    "egress_cgroup": config(entry("egress", 0, [{"port": 8080}, {"port": 8443}], cgroup=[APP], nocgroup=[EXEMPT])),
    "egress_reject6": config(entry("egress", 0, [{"port": 8080}], ipv6="reject")),
    "mesh": config(
        entry("ingress", 0, [{"port": 8080}]), entry("egress", 0, [{"port": 8080}], local=True, so_mark=566)
    ),
}
NOT_THERE = {("egress_cgroup", "iptables"), ("egress_original", "iptables")}
"""Refused by name, as the tests of that emitter show: iptables looks up no listening socket, and asks for no zone."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One new connection: ``out`` from the host to ``address``, ``in`` from the peer, ``local`` on the host.

    ``cgroup``: of the sender, on an ``in`` flow of the service.
    """

    config: str
    way: Way
    address: str
    port: int
    expected: str
    mark: int = 0
    cgroup: str = ""

    @property
    def family(self) -> str:
        """The family of ``address``."""
        return "ipv6" if ":" in self.address else "ipv4"

    @property
    def title(self) -> str:
        """The flow in words."""
        extra = (f"_mark{self.mark}" if self.mark else "") + (
            f"_{self.cgroup.replace('/', '.')}" if self.cgroup else ""
        )
        return f"{self.config}-{self.way}_{self.address}_{self.port}{extra}-{self.expected}"


FLOWS = [
    Flow("ingress_port", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("ingress_port", "out", "10.77.0.3", 8080, "ingress_0"),
    Flow("ingress_port", "out", "fd77::2", 8080, "ingress_0"),
    Flow("ingress_port", "out", "10.77.0.2", 9000, "ingress_0"),
    Flow("ingress_port", "out", "fd77::3", 9005, "ingress_0"),
    Flow("ingress_port", "out", "10.77.0.2", 9010, "passed"),
    Flow("ingress_port", "out", "fd77::2", 22, "passed"),
    Flow("ingress_port", "out", "10.77.0.2", 8080, "passed", mark=565),
    Flow("ingress_port", "out", "fd77::2", 8080, "passed", mark=565),
    Flow("ingress_port", "out", "10.77.0.2", 8080, "ingress_0", mark=564),
    Flow("ingress_port", "out", "10.77.0.2", 8080, "ingress_0", mark=565 | 1 << 16),
    Flow("ingress_port", "local", "127.0.0.1", 8080, "passed"),
    Flow("ingress_port", "local", "10.77.0.1", 8080, "passed"),
    Flow("ingress_port", "local", "::1", 8080, "passed"),
    Flow("ingress_port", "in", "10.77.0.1", 8080, "passed"),
    Flow("ingress_port", "in", "fd77::1", 9000, "passed"),
    Flow("ingress_port", "in", "10.77.0.1", 15001, "reset"),
    Flow("ingress_port", "in", "fd77::1", 15001, "reset"),
    Flow("ingress_port", "local", "127.0.0.1", 15001, "reset"),
    Flow("ingress_port", "local", "::1", 15001, "reset", mark=565),
    Flow("ingress_host", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("ingress_host", "out", "10.77.0.3", 8080, "passed"),
    Flow("ingress_host", "out", "10.77.0.3", 9000, "ingress_0"),
    Flow("ingress_host", "out", "10.77.0.2", 9005, "ingress_0"),
    Flow("ingress_host", "out", "10.77.0.2", 9010, "passed"),
    Flow("ingress_host", "out", "fd77::2", 22, "ingress_0"),
    Flow("ingress_host", "out", "fd77::3", 22, "passed"),
    Flow("ingress_host", "out", "fd77::3", 9010, "ingress_0"),
    Flow("ingress_all", "out", "10.77.0.2", 22, "ingress_0"),
    Flow("ingress_all", "out", "fd77::3", 9010, "ingress_0"),
    Flow("ingress_all", "out", "10.77.0.3", 8443, "passed", mark=565),
    Flow("ingress_all", "local", "127.0.0.1", 8443, "passed"),
    Flow("ingress_all", "in", "10.77.0.1", 22, "passed"),
    Flow("ingress_all", "in", "fd77::1", 22, "passed"),
    Flow("ingress_two", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("ingress_two", "out", "fd77::2", 8080, "ingress_0"),
    Flow("ingress_two", "out", "10.77.0.3", 8080, "ingress_1"),
    Flow("ingress_two", "out", "fd77::3", 8443, "ingress_1"),
    Flow("ingress_two", "out", "10.77.0.2", 8080, "passed", mark=701),
    Flow("ingress_two", "out", "10.77.0.3", 8080, "passed", mark=700),
    Flow("ingress_two", "out", "10.77.0.3", 8080, "ingress_1", mark=565),
    Flow("ingress_cgroup", "out", "10.77.0.2", 8080, "ingress_0", cgroup=APP),
    Flow("ingress_cgroup", "out", "fd77::2", 8080, "ingress_0", cgroup=APP),
    Flow("ingress_cgroup", "out", "10.77.0.2", 8080, "passed", cgroup=EXEMPT),
    Flow("ingress_cgroup", "out", "fd77::2", 8080, "passed", cgroup=OTHER),
    Flow("ingress_cgroup", "out", "10.77.0.2", 8080, "passed"),
    Flow("ingress_cgroup", "out", "10.77.0.2", 22, "passed", cgroup=APP),
    Flow("ingress_cgroup", "out", "10.77.0.2", 8080, "passed", cgroup=APP, mark=565),
    Flow("ingress_cgroup_only", "out", "10.77.0.2", 22, "ingress_0", cgroup=EXEMPT),
    Flow("ingress_cgroup_only", "out", "fd77::2", 9010, "ingress_0", cgroup=OTHER),
    Flow("ingress_cgroup_only", "out", "10.77.0.2", 22, "passed", cgroup=APP),
    Flow("ingress_nocgroup", "out", "10.77.0.2", 8080, "ingress_1", cgroup=APP),
    Flow("ingress_nocgroup", "out", "10.77.0.2", 8080, "ingress_1", cgroup=EXEMPT),
    Flow("ingress_nocgroup", "out", "fd77::2", 8080, "ingress_0", cgroup=OTHER),
    Flow("ingress_ipset", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("ingress_ipset", "out", "10.77.0.3", 8080, "passed"),
    Flow("ingress_ipset", "out", "fd77::3", 8080, "ingress_0"),
    Flow("ingress_ipset", "out", "fd77::2", 8080, "passed"),
    Flow("ingress_ipset", "out", "10.77.0.2", 9000, "passed"),
    Flow("ingress_reject6", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("ingress_reject6", "out", "fd77::2", 8080, "reset"),
    Flow("ingress_reject6", "out", "fd77::2", 8080, "passed", mark=565),
    Flow("ingress_reject6", "out", "fd77::2", 8443, "ingress_1"),
    Flow("ingress_reject6", "local", "::1", 8080, "passed"),
    Flow("ingress_bypass6", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("ingress_bypass6", "out", "fd77::2", 8080, "passed"),
    Flow("egress_port", "in", "10.77.0.1", 8080, "egress_0"),
    Flow("egress_port", "in", "fd77::1", 8080, "egress_0"),
    Flow("egress_port", "in", "10.77.0.1", 8443, "passed"),
    Flow("egress_port", "in", "10.77.0.1", 16001, "reset"),
    Flow("egress_port", "in", "fd77::1", 16001, "reset"),
    Flow("egress_port", "local", "127.0.0.1", 8080, "passed"),
    Flow("egress_port", "local", "10.77.0.1", 8080, "passed"),
    Flow("egress_port", "local", "fd77::1", 8080, "passed"),
    Flow("egress_port", "local", "10.77.0.1", 8080, "passed", mark=565),
    Flow("egress_port", "local", "127.0.0.1", 16001, "reset"),
    Flow("egress_port", "out", "10.77.0.2", 8080, "passed"),
    Flow("egress_port", "out", "fd77::2", 8080, "passed"),
    Flow("egress_original", "in", "10.77.0.1", 8080, "egress_0"),
    Flow("egress_original", "in", "fd77::1", 8080, "egress_0"),
    Flow("egress_original", "in", "10.77.0.1", 8443, "passed"),
    Flow("egress_original", "in", "fd77::1", 16001, "reset"),
    Flow("egress_original", "local", "10.77.0.1", 8080, "passed", mark=565),
    Flow("egress_original", "local", "::1", 8080, "passed", mark=565),
    Flow("egress_original", "out", "10.77.0.2", 8080, "passed"),
    Flow("egress_local", "in", "10.77.0.1", 8080, "egress_0"),
    Flow("egress_local", "local", "10.77.0.1", 8080, "egress_0"),
    Flow("egress_local", "local", "127.0.0.1", 8080, "egress_0"),
    Flow("egress_local", "local", "fd77::1", 8080, "egress_0"),
    Flow("egress_local", "local", "::1", 8080, "egress_0"),
    Flow("egress_local", "local", "10.77.0.1", 8080, "passed", mark=565),
    Flow("egress_local", "local", "::1", 8080, "passed", mark=565),
    Flow("egress_local", "local", "::1", 22, "passed"),
    Flow("egress_local", "out", "10.77.0.2", 8080, "passed"),
    Flow("egress_local_all", "local", "10.77.0.1", 22, "egress_0"),
    Flow("egress_local_all", "local", "::1", 9010, "egress_0"),
    Flow("egress_local_all", "local", "10.77.0.1", 22, "passed", mark=565),
    Flow("egress_local_all", "local", "127.0.0.1", 16001, "reset"),
    Flow("egress_local_all", "in", "fd77::1", 8080, "egress_0"),
    Flow("egress_local_all", "out", "10.77.0.2", 22, "passed"),
    Flow("egress_host", "in", "10.77.0.1", 9005, "egress_0"),
    Flow("egress_host", "in", "10.77.0.1", 9010, "passed"),
    Flow("egress_host", "in", "fd77::1", 9005, "passed"),
    Flow("egress_all", "in", "10.77.0.1", 22, "egress_0"),
    Flow("egress_all", "in", "fd77::1", 9010, "egress_0"),
    Flow("egress_all", "local", "10.77.0.1", 22, "passed"),
    Flow("egress_all", "out", "10.77.0.2", 22, "passed"),
    Flow("egress_all", "out", "fd77::2", 8080, "passed"),
    Flow("egress_all", "in", "10.77.0.1", 16001, "reset"),
    Flow("egress_cgroup", "in", "10.77.0.1", 8080, "egress_0", cgroup=APP),
    Flow("egress_cgroup", "in", "fd77::1", 8080, "egress_0", cgroup=APP),
    Flow("egress_cgroup", "in", "10.77.0.1", 8443, "passed", cgroup=EXEMPT),
    Flow("egress_cgroup", "in", "10.77.0.1", 9000, "passed"),
    Flow("egress_reject6", "in", "10.77.0.1", 8080, "egress_0"),
    Flow("egress_reject6", "in", "fd77::1", 8080, "reset"),
    Flow("egress_reject6", "local", "::1", 8080, "passed"),
    Flow("mesh", "out", "10.77.0.2", 8080, "ingress_0"),
    Flow("mesh", "out", "fd77::2", 8080, "ingress_0"),
    Flow("mesh", "in", "10.77.0.1", 8080, "egress_0"),
    Flow("mesh", "in", "fd77::1", 8080, "egress_0"),
    Flow("mesh", "local", "10.77.0.1", 8080, "egress_0"),
    Flow("mesh", "out", "10.77.0.2", 8080, "passed", mark=566),
    Flow("mesh", "local", "10.77.0.1", 8080, "passed", mark=565),
]


@dataclass(frozen=True, slots=True)
class Older:
    """A connection that is established when the rules are loaded, and who speaks first afterwards.

    ``reset``: the host's end breaks and nothing that it says arrives. ``passed``: it goes on. ``tracked``: also when
    connection tracking knew it before. Connections with our mark get a zone, which those of before do not have.
    """

    config: str
    way: Way
    address: str
    port: int
    first: Literal["client", "service"]
    expected: Literal["reset", "passed"]
    mark: int = 0
    cgroup: str = ""
    tracked: bool = True

    @property
    def title(self) -> str:
        """The connection in words."""
        extra = (f"_mark{self.mark}" if self.mark else "") + (
            f"_{self.cgroup.replace('/', '.')}" if self.cgroup else ""
        )
        return f"{self.config}-{self.way}_{self.address}_{self.port}{extra}-{self.first}_first-{self.expected}"


OLDER = [
    Older("ingress_port", "out", "10.77.0.2", 8080, "client", "reset"),
    Older("ingress_port", "out", "10.77.0.2", 8080, "service", "reset"),
    Older("ingress_port", "out", "fd77::2", 9000, "client", "reset"),
    Older("ingress_port", "out", "fd77::2", 9000, "service", "reset"),
    Older("ingress_port", "out", "10.77.0.2", 22, "client", "passed"),
    Older("ingress_port", "out", "10.77.0.2", 22, "service", "passed"),
    Older("ingress_port", "out", "10.77.0.2", 8080, "client", "passed", mark=565, tracked=False),
    Older("ingress_port", "in", "10.77.0.1", 8080, "client", "passed"),
    Older("ingress_port", "in", "10.77.0.1", 8080, "service", "passed"),
    Older("ingress_port", "local", "127.0.0.1", 8080, "client", "passed"),
    Older("ingress_host", "out", "10.77.0.2", 8080, "client", "reset"),
    Older("ingress_host", "out", "10.77.0.2", 8080, "service", "reset"),
    Older("ingress_host", "out", "10.77.0.3", 8080, "client", "passed"),
    Older("ingress_cgroup", "out", "10.77.0.2", 8080, "client", "reset", cgroup=APP),
    Older("ingress_cgroup", "out", "10.77.0.2", 8080, "service", "reset", cgroup=APP),
    Older("ingress_cgroup", "out", "fd77::2", 8080, "service", "reset", cgroup=APP),
    Older("ingress_cgroup", "out", "10.77.0.2", 8080, "service", "passed", cgroup=EXEMPT),
    Older("ingress_cgroup", "out", "10.77.0.2", 8080, "client", "passed"),
    Older("egress_cgroup", "in", "10.77.0.1", 8080, "client", "reset"),
    Older("egress_cgroup", "in", "10.77.0.1", 8080, "service", "reset"),
    Older("egress_cgroup", "in", "10.77.0.1", 8443, "service", "passed"),
    Older("ingress_reject6", "out", "fd77::2", 8080, "client", "reset"),
    Older("ingress_bypass6", "out", "fd77::2", 8080, "client", "passed"),
    Older("ingress_ipset", "out", "10.77.0.2", 8080, "service", "reset"),
    Older("egress_port", "in", "10.77.0.1", 8080, "client", "reset"),
    Older("egress_port", "in", "10.77.0.1", 8080, "service", "reset"),
    Older("egress_port", "in", "fd77::1", 8080, "client", "reset"),
    Older("egress_port", "in", "fd77::1", 8080, "service", "reset"),
    Older("egress_port", "in", "10.77.0.1", 22, "client", "passed"),
    Older("egress_port", "in", "10.77.0.1", 22, "service", "passed"),
    Older("egress_port", "out", "10.77.0.2", 8080, "service", "passed"),
    Older("egress_port", "local", "10.77.0.1", 8080, "client", "passed"),
    Older("egress_original", "in", "10.77.0.1", 8080, "client", "reset"),
    Older("egress_original", "in", "10.77.0.1", 8080, "service", "reset"),
    Older("egress_original", "in", "fd77::1", 8080, "service", "reset"),
    Older("egress_original", "local", "10.77.0.1", 8080, "client", "passed"),
    Older("egress_host", "in", "10.77.0.1", 9005, "service", "reset"),
    Older("egress_local", "local", "10.77.0.1", 8080, "client", "reset"),
    Older("egress_local", "local", "10.77.0.1", 8080, "client", "passed", mark=565, tracked=False),
    Older("egress_local", "local", "::1", 8080, "client", "reset"),
    Older("egress_local", "in", "10.77.0.1", 8080, "service", "reset"),
    Older("mesh", "out", "10.77.0.2", 8080, "service", "reset"),
    Older("mesh", "in", "fd77::1", 8080, "client", "reset"),
]
