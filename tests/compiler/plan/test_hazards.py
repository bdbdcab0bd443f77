"""What earns a warning, and what is close to it and does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.documents import text
from packets.make import VERIFY, config, entry
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Severity
from tng_compiler.emit import iptables_limits, nft
from tng_compiler.model.types import Config, Service
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.build import build_plan


def everything(document: Config) -> list[Diagnostic]:
    """The diagnostics of a document."""
    return list(build_plan(document, "0" * 64)[1])


def found(document: Config) -> list[Diagnostic]:
    """Those beside what every capture of all ports, and every egress, earns, which have tests of their own."""
    common = (Code.DNS_SPARED, Code.CLIENTS_HIDDEN)
    return [diagnostic for diagnostic in everything(document) if diagnostic.code not in common]


def codes(document: Config) -> list[Code]:
    """Their codes."""
    return [diagnostic.code for diagnostic in found(document)]


def asking(url: str, *destinations: dict[str, object]) -> Config:
    """An ingress whose service is at ``url``."""
    return config(entry("ingress", 0, destinations, verify=replace(VERIFY, service=Service(url, ()))))


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://10.9.0.7:8081/", {"host": "10.9.0.0/24"}),
        ("https://10.9.0.7/", {"port": 443}),
        ("http://10.9.0.7/", {"port": 80}),
        ("https://as.example.com/", {"port": 400, "port_end": 500}),
        ("https://[fd00::7]:9000/", {"host": "fd00::/64"}),
    ],
)
def test_an_ingress_that_captures_its_service_is_told(url: str, destination: dict[str, object]) -> None:
    assert codes(asking(url, destination)) == [Code.CAPTURES_SERVICE]


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("http://127.0.0.1:8081/", {"port": 8081}),
        ("http://localhost:8081/", {"port": 8081}),
        ("http://[::1]:8081/", {"port": 8081}),
        ("https://10.9.0.7/", {"host": "10.9.1.0/24"}),
        ("https://10.9.0.7:8443/", {"port": 443}),
        ("https://as.example.com/", {"host": "10.9.0.0/24"}),
    ],
)
def test_a_service_out_of_reach_of_the_capture_is_not_mentioned(url: str, destination: dict[str, object]) -> None:
    assert codes(asking(url, destination)) == []


def test_a_port_that_is_named_by_itself_is_meant_but_ssh_of_everybody() -> None:
    assert codes(config(entry("ingress", 0, [{"port": 53}]))) == []
    assert codes(config(entry("ingress", 0, [{"port": 22, "host": "10.0.0.0/24"}]))) == []
    assert codes(config(entry("ingress", 0, [{"port": 22}]))) == [Code.BROAD_CAPTURE]


@pytest.mark.parametrize("version", [4, 6])
def test_a_family_that_is_left_open_beside_all_of_the_other_is_mentioned(version: int) -> None:
    hosts = ("0.0.0.0/0", "::/0")[:: 1 if version == 4 else -1]
    every, other = ({"host": host, "port": 443} for host in hosts)
    assert codes(config(entry("ingress", 0, [every]))) == [Code.FAMILY_OPEN]
    assert codes(config(entry("ingress", 0, [every]), entry("egress", 0, [other]))) == [Code.FAMILY_OPEN] * 2
    for beside in (other, {"port": 443}, {"ipset": "others"}):
        assert Code.FAMILY_OPEN not in codes(config(entry("ingress", 0, [every, beside])))
    assert codes(config(entry("ingress", 0, [every]), entry("ingress", 1, [other]))) == []


def test_a_narrow_capture_of_all_ports_is_not_broad() -> None:
    assert codes(config(entry("ingress", 0, [{"host": "10.0.0.0/24"}, {"host": "fd00::/64"}]))) == []


def test_a_broad_capture_names_what_it_takes_along() -> None:
    (warning,) = found(config(entry("ingress", 0, [{"port": 20, "port_end": 60}])))
    assert warning.code is Code.BROAD_CAPTURE
    assert "DNS over TCP and SSH" in warning.message
    (warning,) = found(config(entry("egress", 0, [{"port": 20, "port_end": 60}])))
    assert "DNS" not in warning.message


def test_a_broad_capture_of_one_cgroup_is_its_owners_choice() -> None:
    assert codes(config(entry("ingress", 0, [], cgroup=["a.slice"]))) == []


def test_bypass_is_open_only_where_ipv6_is_named() -> None:
    assert codes(config(entry("ingress", 0, [{"host": "10.0.0.1"}], ipv6="bypass"))) == []
    assert codes(config(entry("ingress", 0, [{"port": 80}], ipv6="bypass"))) == [Code.IPV6_OPEN]


def test_what_passes_by_is_told() -> None:
    assert codes(config(entry("ingress", 0, [{"port": 80}], forwarded="bypass"))) == [Code.FORWARDED_OPEN]
    assert codes(config(entry("egress", 0, [{"port": 80}], udp="bypass"))) == [Code.UDP_OPEN]
    assert codes(config(entry("ingress", 0, [{"port": 80}]))) == []


def spares(document: Config) -> list[str]:
    """Where a document is told that DNS is spared."""
    return [one.place.pointer for one in everything(document) if one.code is Code.DNS_SPARED]


@pytest.mark.parametrize(
    ("destination", "spared"),
    [
        ({"host": "10.0.0.1"}, True),
        ({"ipset": "partners"}, True),
        ({"port": 53}, False),
        ({"port": 50, "port_end": 60}, False),
        ({"port": 1, "port_end": 52}, False),
        ({"host": "10.0.0.1", "port": 54}, False),
    ],
)
def test_dns_is_spared_where_every_port_is_captured(destination: dict[str, object], spared: bool) -> None:
    place = ["/add_ingress/0/netfilter/capture_dst/0"] if spared else []
    assert spares(config(entry("ingress", 0, [destination]))) == place
    assert spares(config(entry("ingress", 0, [destination], udp="bypass"))) == []


@pytest.mark.parametrize(
    ("destinations", "spared"),
    [
        ([{"port": 80}, {"host": "10.0.0.1"}], True),
        ([{"host": "10.0.0.1", "port": 80}, {"host": "10.0.0.0/24"}], True),
        ([{"port": 53}, {"host": "10.0.0.1"}], False),
        ([{"host": "10.0.0.1", "port": 53}, {"host": "10.0.0.0/24"}], False),
    ],
)
def test_the_rules_spare_dns_where_the_document_is_told_so(destinations: list[dict[str, object]], spared: bool) -> None:
    """A named port may disappear in a wider item: what was named is asked of the document, not of the regions."""
    document = config(entry("ingress", 0, destinations))
    plan, _ = build_plan(document, "0" * 64)
    assert bool(spares(document)) == spared
    assert ("udp dport 53 return" in nft.render(plan)) == spared


def test_dns_is_spared_where_no_destination_is_named() -> None:
    assert spares(config(entry("egress", 0, [], cgroup=("a",)))) == ["/add_egress/0/netfilter/capture_dst"]
    assert spares(config(entry("egress", 0, None, cgroup=("a",)))) == ["/add_egress/0/netfilter"]


def test_entries_with_different_cgroups_do_not_shadow_each_other() -> None:
    document = config(
        entry("ingress", 0, [{"port": 80}], cgroup=["a.slice"]), entry("ingress", 1, [{"port": 80}], cgroup=["b.slice"])
    )
    assert codes(document) == []


def test_an_exemption_leaves_something_for_the_next_entry() -> None:
    document = config(
        entry("ingress", 0, [{"port": 80}], nocgroup=["a.slice"]),
        entry("ingress", 1, [{"port": 80}], cgroup=["a.slice"]),
    )
    assert codes(document) == []


def test_the_entry_that_wins_is_named_with_a_packet_of_both() -> None:
    document = config(
        entry("egress", 0, [{"host": "10.0.0.0/24", "port": 80}]),
        entry("egress", 1, [{"host": "10.0.0.7", "port": 1, "port_end": 100}], local=True),
    )
    (warning,) = found(document)
    assert warning.code is Code.ITEM_PARTLY_SHADOWED
    assert "TCP to 10.0.0.7:80" in warning.message
    assert [note.place.pointer for note in warning.notes] == ["/add_egress/0/netfilter/capture_dst/0"]


def test_roles_do_not_shadow_each_other() -> None:
    assert codes(config(entry("ingress", 0, [{"port": 80}]), entry("egress", 0, [{"port": 80}]))) == []


def test_the_same_mark_for_two_entries_is_no_collision() -> None:
    document = config(entry("ingress", 0, [{"port": 80}], so_mark=7), entry("egress", 0, [{"port": 80}], so_mark=7))
    assert codes(document) == []


def test_what_iptables_has_not_is_named() -> None:
    plan, _ = build_plan(config(entry("egress", 0, [{"port": 80}], nocgroup=["a.slice"])), "0" * 64)
    (refusal,) = iptables_limits.unsupported(plan)
    assert (refusal.code, refusal.severity) == (Code.NOT_IN_IPTABLES, Severity.ERROR)
    assert refusal.place.pointer == "/add_egress/0/netfilter/nocapture_cgroup"


MANY = range(600)
CROWDS: dict[str, tuple[object, Code]] = {
    "a door on the port of another": (
        {
            "add_ingress": [
                *(
                    {
                        "mapping": {
                            "rules": [
                                {"in": {"host": "192.0.2.1", "port": 1 + n}, "out": {"host": "10.0.0.1", "port": 80}}
                                for n in ports
                            ]
                        }
                    }
                    for ports in (MANY[:300], MANY[300:])
                ),
                *({"socks5": {"proxy_listen": {"host": "127.0.0.1", "port": 1080}}} for _ in range(2)),
            ]
        },
        Code.DOOR_TAKEN,
    ),
    "a listen port that an egress captures": (
        {
            "add_ingress": [
                {
                    "netfilter": {
                        "capture_dst": [
                            {"host": f"10.0.{n >> 8}.{n & 255}", "port": 16000, "port_end": 16009} for n in MANY
                        ]
                    }
                }
            ],
            "add_egress": [{"netfilter": {"capture_dst": {"port": 16001}, "listen_port": 16001}}],
        },
        Code.LISTEN_PORT_CAPTURED,
    ),
    "local traffic by cgroup": (
        {
            "add_egress": [
                {
                    "netfilter": {
                        "capture_dst": {"port": 80},
                        "capture_local_traffic": True,
                        "capture_cgroup": "/a",
                        "nocapture_cgroup": [f"/b{n}" for n in MANY],
                    }
                }
            ]
        },
        Code.LOCAL_TRAFFIC_BY_CGROUP,
    ),
    "what is forwarded, by cgroup": (
        {
            "add_ingress": [
                {
                    "netfilter": {
                        "capture_dst": {"port": 80},
                        "forwarded": "capture",
                        "capture_cgroup": "/a",
                        "nocapture_cgroup": [f"/b{n}" for n in MANY],
                    }
                }
            ]
        },
        Code.FORWARDED_BY_CGROUP,
    ),
    "the mark of the way back": (
        {
            "add_egress": [
                *({"netfilter": {"capture_dst": {"port": 1 + n}}} for n in MANY),
                {"netfilter": {"capture_dst": {"port": 999}, "client_address": "original", "so_mark": 0x3000}},
            ]
        },
        Code.MARK_OF_OTHERS,
    ),
}


@pytest.mark.parametrize("name", CROWDS)
def test_no_crowd_of_warnings_hides_an_error(name: str) -> None:
    document, code = CROWDS[name]
    assert isinstance(document, dict)
    trusting = {role: [{**one, "no_ra": True} for one in entries] for role, entries in document.items()}
    outcome = compile_bytes("x", text(trusting))
    assert code in [item.diagnostic.code for item in outcome.found if item.is_error]
    assert outcome.plan is None
