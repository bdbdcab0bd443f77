"""A difference is exact: nothing of what means the same, everything else once, and each witness shows it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from compiler.documents import ATTEST, VERIFY, egress, ingress, text
from compiler.regions.draw import decided, plans
from packets.drawn import document
from tng_compiler.diff.changes import Change, Difference, compare
from tng_compiler.diff.danger import Danger
from tng_compiler.diff.trust import trust_of
from tng_compiler.explain.ask import ask
from tng_compiler.explain.flow import Flow, parse
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan
from tng_compiler.regions.flow import witness


def plan_of(document: object) -> Plan:
    """Compile a document."""
    plan = compile_bytes("x", text(document)).plan
    assert plan
    return plan


def difference(old: object, new: object) -> Difference:
    """Compare two documents."""
    return compare(plan_of(old), plan_of(new))


@settings(max_examples=40)
@given(plans())
def test_nothing_differs_from_itself(plan: Plan) -> None:
    if plan.entries:
        assert compare(plan, plan).empty


@settings(max_examples=40)
@given(plans(), plans())
def test_a_difference_mirrors_the_one_of_the_other_direction(one: Plan, two: Plan) -> None:
    if not one.entries and not two.entries:
        return
    forth, back = compare(one, two), compare(two, one)
    assert sides(forth) == sides(back, swapped=True)


def sides(found: Difference, *, swapped: bool = False) -> set[object]:
    """All changes as values; dangers have a direction, so they are left out."""
    return {
        (change.way, change.protocol, *((change.before, change.after)[:: -1 if swapped else 1]),
         frozenset(replace(region, answer=None) for region in change.regions))
        for change in found.changes
    }  # fmt: skip


@settings(max_examples=60)
@given(plans(), plans())
def test_every_witness_shows_its_change_in_the_rule_trees(one: Plan, two: Plan) -> None:
    if not one.entries and not two.entries:
        return
    for change in compare(one, two).changes:
        for region in change.regions:
            flow = witness(region)
            before, after = decided(one, flow), decided(two, flow)
            assert (before.kind, after.kind) == (change.before.kind, change.after.kind), str(flow)
            if before.kind == after.kind:
                trusts = [
                    next(trust_of(entry) for entry in plan.entries if entry.pointer == fate.entry)
                    for plan, fate in ((one, before), (two, after))
                ]
                assert trusts[0] != trusts[1]


HALVES = [{"host": "10.0.0.0/9", "port": 80}, {"host": "10.128.0.0/9", "port": 80}]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ingress({"capture_dst": {"host": "10.0.0.0/8", "port": 80}}), ingress({"capture_dst": HALVES})),
        (ingress({"capture_dst": HALVES}), ingress({"capture_dst": HALVES[::-1]})),
        (
            ingress({"capture_dst": [{"port": 80, "port_end": 99}]}),
            ingress({"capture_dst": [{"port": 80, "port_end": 90}, {"port": 85, "port_end": 99}]}),
        ),
        (
            ingress({"capture_dst": {"port": 80}}, verify={**VERIFY, "policy_ids": ["a", "b"]}),
            ingress({"capture_dst": {"port": 80}}, verify={**VERIFY, "policy_ids": ["b", "a"]}),
        ),
    ],
)
def test_documents_of_one_meaning_differ_in_nothing(old: object, new: object) -> None:
    assert difference(old, new).empty


def test_the_order_of_disjoint_entries_means_nothing() -> None:
    one, two = ({"netfilter": {"capture_dst": {"port": port}}, "verify": VERIFY} for port in (80, 443))
    assert difference({"add_ingress": [one, two]}, {"add_ingress": [two, one]}).empty


def test_one_entry_instead_of_two_differs_in_a_listen_port_alone() -> None:
    one, two = ({"netfilter": {"capture_dst": {"port": port}}, "verify": VERIFY} for port in (80, 443))
    found = difference({"add_ingress": [one, two]}, ingress({"capture_dst": [{"port": 80}, {"port": 443}]}))
    assert {(change.danger, change.before.why) for change in found.changes} == {(Danger.TRUST, "listener")}


def only(found: Difference, way: str = "out", protocol: str = "tcp") -> Change:
    """The one change of a kind of traffic."""
    (change,) = [change for change in found.changes if (change.way, change.protocol) == (way, protocol)]
    return change


def test_the_size_of_what_is_no_longer_captured_is_exact() -> None:
    change = only(
        difference(
            ingress({"capture_dst": {"host": "10.0.0.0/24", "port": 80}}),
            ingress({"capture_dst": {"host": "10.0.0.0/25", "port": 80}}),
        )
    )
    assert (change.danger, change.before.kind, change.after.kind) == (Danger.UNPROTECTED, "captured", "passed")
    assert [region.size for region in change.regions] == [128]
    assert str(witness(change.regions[0])) == "ingress tcp to 10.0.0.129:80"


HTTPS = VERIFY | {"as_addr": "https://as.example/"}
TRUSTS: list[tuple[dict[str, Any], dict[str, Any], Danger, str]] = [
    ({"verify": VERIFY}, {"no_ra": True}, Danger.UNPROTECTED, "no_ra"),
    ({"verify": VERIFY, "attest": ATTEST}, {"attest": ATTEST}, Danger.UNPROTECTED, "roles"),
    ({"verify": VERIFY, "attest": ATTEST}, {"verify": VERIFY}, Danger.PEER, "roles"),
    ({"verify": VERIFY}, {"verify": VERIFY | {"policy_ids": ["strict"]}}, Danger.PEER, "verify.policy_ids"),
    (
        {"verify": VERIFY | {"policy_ids": ["strict", "default"]}},
        {"verify": VERIFY},
        Danger.UNPROTECTED,
        "verify.policy_ids",
    ),
    ({"verify": VERIFY | {"trusted_certs_paths": ["/a"]}}, {"verify": VERIFY}, Danger.UNPROTECTED,
     "verify.trusted_certs_paths"),
    ({"verify": VERIFY}, {"verify": VERIFY | {"as_addr": "https://as.example/"}}, Danger.PEER, "verify.as_addr"),
    ({"verify": VERIFY}, {"verify": VERIFY | {"skip_as_token_cert_verify": True}}, Danger.UNPROTECTED,
     "verify.skip_as_token_cert_verify"),
    ({"verify": HTTPS | {"as_ca_paths": ["/a"]}}, {"verify": HTTPS}, Danger.UNPROTECTED, "verify.as_ca_paths"),
    ({"verify": HTTPS}, {"verify": HTTPS | {"as_ca_paths": ["/a"]}}, Danger.TRUST, "verify.as_ca_paths"),
    ({"attest": ATTEST}, {"attest": ATTEST | {"refresh_interval": 5}}, Danger.TRUST, "attest.refresh_interval"),
    # Who is believed beside others makes the demand smaller; who takes the place of another may be as good.
    ({"verify": VERIFY | {"trusted_certs_paths": ["/a"]}}, {"verify": VERIFY | {"trusted_certs_paths": ["/b", "/a"]}},
     Danger.UNPROTECTED, "verify.trusted_certs_paths"),
    ({"verify": VERIFY | {"trusted_certs_paths": ["/a"]}}, {"verify": VERIFY | {"trusted_certs_paths": ["/b"]}},
     Danger.PEER, "verify.trusted_certs_paths"),
    ({"verify": VERIFY}, {"verify": VERIFY | {"trusted_certs_paths": ["/b"]}}, Danger.PEER,
     "verify.trusted_certs_paths"),
    ({"verify": HTTPS | {"as_ca_paths": ["/a"]}}, {"verify": HTTPS | {"as_ca_paths": ["/a", "/b"]}},
     Danger.UNPROTECTED, "verify.as_ca_paths"),
    ({"verify": HTTPS}, {"verify": HTTPS | {"as_addr": "http://as.example/"}}, Danger.UNPROTECTED, "verify.as_addr"),
    ({"verify": VERIFY}, {"verify": VERIFY | {"as_addr": "http://10.0.0.1/"}}, Danger.UNPROTECTED, "verify.as_addr"),
    ({"verify": HTTPS | {"trusted_certs_paths": ["/a"]}},
     {"verify": HTTPS | {"trusted_certs_paths": ["/a"], "as_addr": "http://as.example/"}}, Danger.PEER,
     "verify.as_addr"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "danger", "field"), TRUSTS)
def test_changes_of_trust_are_named_by_field(
    before: dict[str, Any], after: dict[str, Any], danger: Danger, field: str
) -> None:
    change = only(difference(ingress({"capture_dst": {"port": 80}}, **before),
                             ingress({"capture_dst": {"port": 80}}, **after)))  # fmt: skip
    assert change.danger is danger
    assert field in [one.field for one in change.fields]


@pytest.mark.parametrize(
    ("change", "field"),
    [({"client_address": "original"}, "client_address"), ({"proxy_protocol": "v2"}, "proxy_protocol")],
)
def test_whom_the_services_of_an_egress_see_is_compared(change: dict[str, Any], field: str) -> None:
    old: dict[str, Any] = egress({"capture_dst": {"port": 80}, "listen_port": 16001})
    new = json.loads(json.dumps(old))
    (new["add_egress"][0] if field == "proxy_protocol" else new["add_egress"][0]["netfilter"]).update(change)
    found = difference(old, new)
    assert {change.danger for change in found.changes} == {Danger.TRUST}
    assert {each.field for change in found.changes for each in change.fields} == {field}
    assert [change.before.kind for change in difference(new, old).changes] == ["captured"]


def test_what_is_said_once_for_a_document_is_compared() -> None:
    old: dict[str, Any] = ingress({"capture_dst": {"port": 80}})
    new: dict[str, Any] = ingress({"capture_dst": {"port": 80}, "so_mark": 700})
    new["control_interface"] = {"restful": {"host": "0.0.0.0", "port": 50000}}
    found = difference(old, new)
    assert not found.empty
    assert [(each.field, each.before, each.after) for each in found.settings] == [
        ("so_mark", "565", "700"),
        ("control_interface", "none", "0.0.0.0 port 50000"),
    ]
    assert len({each.identity for each in (*found.settings, *difference(new, old).settings)}) == 4
    assert [each.field for each in compare(None, plan_of(new)).settings] == ["control_interface"]


def test_values_of_headers_are_never_shown() -> None:
    old, new = (VERIFY | {"as_headers": {"Authorization": f"Bearer {secret}"}} for secret in ("s3cret", "other"))
    change = only(difference(ingress({"capture_dst": {"port": 80}}, verify=old),
                             ingress({"capture_dst": {"port": 80}}, verify=new)))  # fmt: skip
    assert "s3cret" not in repr(change.fields)
    assert [one.field for one in change.fields] == ["verify.as_headers"]


def test_what_loses_protection_comes_first() -> None:
    found = difference(
        ingress({"capture_dst": [{"port": 80}, {"port": 81}]}), ingress({"capture_dst": [{"port": 80}, {"port": 82}]})
    )
    dangers = [change.danger for change in found.changes]
    assert dangers == sorted(dangers, key=list(Danger).index)
    assert dangers[0] is Danger.UNPROTECTED
    assert Danger.PEER in dangers


def test_a_new_host_is_compared_with_one_without_rules() -> None:
    plan = plan_of(egress({"capture_dst": {"port": 80}}))
    dangers = {change.danger for change in compare(None, plan).changes}
    assert dangers == {Danger.PEER, Danger.REFUSED}
    back = [change for change in compare(plan, None).changes if change.before.why != "listener"]
    assert {change.danger for change in back} == {Danger.UNPROTECTED}


def test_the_identity_of_a_change_is_that_of_its_traffic() -> None:
    wide, narrow, halves = (
        plan_of(ingress({"capture_dst": dst}))
        for dst in ({"host": "10.0.0.0/8", "port": 80}, {"host": "10.0.0.0/9", "port": 80}, HALVES)
    )
    one, two, three = (
        [change.identity for change in compare(old, new).changes]
        for old, new in ((wide, narrow), (halves, narrow), (narrow, wide))
    )
    assert one == two
    assert not set(one) & set(three)


def test_the_identity_of_a_change_tells_what_is_proven_from_now_on() -> None:
    old = plan_of(ingress({"capture_dst": {"port": 80}}))
    both = [{"capture_dst": [{"port": 80}]}, {"capture_dst": [{"port": 443}]}]
    made = []
    for trust in ({"verify": VERIFY}, {"no_ra": True}):
        entries = [{"netfilter": both[0], "verify": VERIFY}, {"netfilter": both[1], **trust}]
        made.append(only(compare(old, plan_of({"add_ingress": entries}))).identity)
    assert made[0] != made[1]


@pytest.mark.timeout(300)
def test_many_destinations_are_compared_by_one_sweep() -> None:
    """Pairs would be ten thousand million: this does not end, if it is not a sweep."""
    chance = random.Random(5)
    hosts = [{"host": f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", "port": chance.randrange(1, 9)} for n in range(100_000)]
    old = plan_of(ingress({"capture_dst": hosts}))
    new = plan_of(ingress({"capture_dst": [hosts[n] for n in range(len(hosts)) if n != 77_777]}))
    change = only(compare(old, new))
    assert [region.size for region in change.regions] == [1]
    assert f"to 10.1.{77_777 >> 8 & 255}.{77_777 & 255}:" in str(witness(change.regions[0]))


def test_the_file_of_the_examples_differs_from_itself_in_nothing() -> None:
    for path in sorted((Path(__file__).parents[3] / "examples").glob("*.json")):
        document = json.loads(path.read_bytes())
        assert difference(document, document).empty, path


@pytest.mark.parametrize("seed", range(8))
def test_explain_says_of_every_witness_what_the_difference_says(seed: int) -> None:
    lot = random.Random(seed)
    sides = [compile_bytes("x", document(lot, "nft").text.encode()) for _ in range(2)]
    plans_ = [side.plan for side in sides]
    assert plans_[0]
    assert plans_[1]
    changes = compare(plans_[0], plans_[1]).changes
    assert changes
    for change in changes:
        for region in change.regions:
            flow = parse(str(witness(region)))
            assert isinstance(flow, Flow), flow
            for side, fate in zip(sides, (change.before, change.after), strict=True):
                assert side.plan
                assert side.config
                (case,) = ask(side.plan, side.config, flow).cases
                assert case.fate == fate.kind, str(witness(region))
                # One that goes to a listen port is refused for that, and for no entry in particular.
                assert fate.why == "listener" or (case.entry or "") == fate.entry, str(witness(region))
