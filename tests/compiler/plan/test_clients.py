"""Which egress hides its clients, and which ingress has none to hide."""

from __future__ import annotations

from dataclasses import replace

from packets.make import config, entry
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Severity
from tng_compiler.model.types import Config
from tng_compiler.plan.build import build_plan


def hidden(document: Config) -> list[str]:
    """The places that are told so."""
    return [one.place.pointer for one in build_plan(document, "0" * 64)[1] if one.code is Code.CLIENTS_HIDDEN]


def test_an_egress_hides_its_clients_and_an_ingress_has_none() -> None:
    document = config(entry("ingress", 0, [{"port": 80}]), entry("egress", 0, [{"port": 5432}]))
    assert hidden(document) == ["/add_egress/0/netfilter"]


def test_it_is_a_note_which_strict_does_not_turn_into_an_error() -> None:
    found = build_plan(config(entry("egress", 0, [{"port": 5432}])), "0" * 64)[1]
    assert [one.severity for one in found] == [Severity.NOTE]


def test_an_egress_that_dials_from_its_clients_addresses_hides_none() -> None:
    assert hidden(config(entry("egress", 0, [{"port": 5432}], client_address="original"))) == []


def test_no_mark_of_ours_is_that_of_the_way_back() -> None:
    marked = entry("ingress", 0, [{"port": 80}], so_mark=0x3000)
    plan, found = build_plan(config(marked, entry("egress", 0, [{"port": 80}], client_address="original")), "0" * 64)
    assert plan.way_back is not None
    assert [one.place.pointer for one in found if one.severity is Severity.ERROR] == [
        "/add_ingress/0/netfilter/so_mark"
    ]
    plan, found = build_plan(config(marked, entry("egress", 0, [{"port": 80}])), "0" * 64)
    assert plan.way_back is None
    assert [one for one in found if one.severity is Severity.ERROR] == []


def test_an_egress_that_tells_who_its_clients_are_hides_none() -> None:
    assert hidden(config(replace(entry("egress", 0, [{"port": 5432}]), proxy_protocol="v2"))) == []
