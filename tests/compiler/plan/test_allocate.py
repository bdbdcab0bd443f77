"""Listen ports come from the document alone, and keep out of the way of what it names."""

from __future__ import annotations

from packets.make import config, entry
from tng_compiler.plan.allocate import first_listen_ports, labels, listen_ports
from tng_schema.contract import slot, way_back


def test_ports_count_up_by_role_in_the_order_of_the_document() -> None:
    document = config(*(entry(role, index, [{"port": 80}]) for role in ("ingress", "egress") for index in (0, 1)))
    assert listen_ports(document) == (15001, 15002, 16001, 16002)


def test_ports_that_the_document_gives_away_are_passed_over() -> None:
    document = config(
        entry("ingress", 0, [{"port": 80}]),
        entry("ingress", 1, [{"port": 81}], listen_port=15001),
        entry("egress", 0, [{"port": 80}], listen_port=15002),
    )
    assert listen_ports(document) == (15003, 15001, 15002)


def test_captured_ports_are_passed_over() -> None:
    document = config(entry("egress", 0, [{"port": 16000, "port_end": 16010}, {"port": 16012}]))
    assert listen_ports(document) == (16011,)


def test_a_capture_of_all_ports_leaves_no_choice() -> None:
    assert listen_ports(config(entry("egress", 0, [{"port": 1, "port_end": 65535}]))) == (16001,)


def test_a_thousand_entries_have_a_thousand_ports_below_the_ephemeral_ones() -> None:
    ports = listen_ports(config(*(entry("ingress", index, [{"port": 80}]) for index in range(1000))))
    assert len(set(ports)) == 1000
    assert max(ports) < 32768


def test_a_named_instance_has_ports_and_labels_of_its_own() -> None:
    document = config(entry("ingress", 0, [{"port": 80}]), entry("egress", 0, [{"port": 81}]))
    named = {name: (*listen_ports(document, name), *labels(name)) for name in ("tng", "tng_a", "tng_b")}
    assert named["tng"] == (15001, 16001, 116, 117)
    numbers = [number for ports in named.values() for number in ports]
    assert len(set(numbers)) == len(numbers)


def test_every_slot_stays_below_the_ephemeral_ports_and_the_labels_of_the_one_without_a_name() -> None:
    names = [f"tng_{number}" for number in range(2000)]
    assert {slot(name) for name in names} == set(range(58))
    assert len({way_back(name) for name in (*names, "tng")}) == 59, "who has one slot has one way back, and no other"
    for name in names:
        first = first_listen_ports(name)
        assert 17001 <= first["ingress"] < first["egress"] <= 32767 - 135
        assert max(labels(name)) < 116
