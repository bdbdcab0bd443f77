"""What a run tries once its rules are there: captured, from this host, and by the entry that is named."""

from __future__ import annotations

import pytest

from compiler.documents import text
from tng_compiler.emit.probes import render
from tng_compiler.pipeline import compile_bytes

NO_RA = {"no_ra": True}


def probes(*ingress: object, egress: tuple[object, ...] = ()) -> tuple[str, ...]:
    document = {
        "add_ingress": [{"netfilter": netfilter, **NO_RA} for netfilter in ingress],
        "add_egress": [{"netfilter": netfilter, **NO_RA} for netfilter in egress],
    }
    plan = compile_bytes("test", text({name: entries for name, entries in document.items() if entries})).plan
    assert plan
    return render(plan)


@pytest.mark.parametrize(
    ("netfilter", "expected"),
    [
        ({"capture_dst": {"host": "10.0.0.1", "port": 80}}, ("10.0.0.1:80=15001",)),
        ({"capture_dst": {"host": "10.0.0.0/24", "port": 80}}, ("10.0.0.1:80=15001",)),
        ({"capture_dst": {"host": "10.0.0.0/24"}}, ("10.0.0.1:443=15001",)),
        ({"capture_dst": {"host": "fd00::/64", "port": 80}}, ("[fd00::1]:80=15001",)),
        ({"capture_dst": {"port": 80}}, ("192.0.2.1:80=15001", "[2001:db8::1]:80=15001")),
        ({"capture_dst": {"port": 80}, "ipv6": "reject"}, ("192.0.2.1:80=15001",)),
        ({"capture_dst": {"port": 80}, "capture_cgroup": ["a.slice"]}, ()),
        ({"capture_dst": {"port": 80}, "nocapture_cgroup": ["a.slice"]}, ()),
        ({"capture_dst": {"ipset": "partners"}}, ()),
    ],
)
def test_one_for_each_family_that_can_be_tried(netfilter: object, expected: tuple[str, ...]) -> None:
    assert probes(netfilter) == expected


def test_an_entry_is_tried_where_no_entry_before_it_captures() -> None:
    first = {"capture_dst": {"host": "10.0.0.0/24", "port": 80}}
    second = {"capture_dst": [{"host": "10.0.0.1", "port": 80}, {"host": "10.9.0.1", "port": 80}]}
    assert probes(first, second) == ("10.0.0.1:80=15001", "10.9.0.1:80=15002")


def test_an_egress_is_tried_where_it_captures_local_traffic() -> None:
    assert probes(egress=({"capture_dst": {"port": 80}},)) == ()
    local = {"capture_dst": {"port": 80}, "capture_local_traffic": True}
    assert probes(egress=(local,)) == ("127.0.0.1:80=16001", "[::1]:80=16001")


def test_what_is_named_is_tried_rather_than_any_address() -> None:
    assert probes({"capture_dst": [{"port": 80}, {"host": "10.9.0.1", "port": 81}]}) == (
        "10.9.0.1:81=15001",
        "[2001:db8::1]:80=15001",
    )
