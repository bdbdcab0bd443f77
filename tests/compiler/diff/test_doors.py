"""Doors are compared by what they do, and what opens them comes first."""

from __future__ import annotations

from typing import Any

import pytest

from compiler.documents import VERIFY, text
from tng_compiler.diff.changes import compare
from tng_compiler.diff.danger import Danger
from tng_compiler.diff.doors import DoorChange
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan


def plan(*modes: dict[str, Any], **trust: Any) -> Plan:
    document = {"add_ingress": [{**mode, **(trust or {"verify": VERIFY})} for mode in modes]}
    made = compile_bytes("x", text(document)).plan
    assert made
    return made


def differ(old: Plan, new: Plan) -> tuple[DoorChange, ...]:
    return compare(old, new).doors


def mapped(first: int, last: int, out: int, host: str = "127.0.0.1") -> dict[str, Any]:
    return {
        "in": {"host": host, "port": first, "port_end": last},
        "out": {"host": "192.0.2.1", "port": out, "port_end": out + last - first},
    }


def mapping(*rules: dict[str, Any]) -> dict[str, Any]:
    return {"mapping": {"rules": list(rules)}}


def proxy(*filters: dict[str, Any], host: str = "127.0.0.1", port: int = 41000, **more: Any) -> dict[str, Any]:
    return {"http_proxy": {"proxy_listen": {"host": host, "port": port}, "dst_filters": list(filters), **more}}


def socks(host: str = "127.0.0.1", **more: Any) -> dict[str, Any]:
    return {"socks5": {"proxy_listen": {"host": host, "port": 1080}, **more}}


FILTERS = "dst_filters (those that differ)"
AUTH: dict[str, Any] = {"auth": {"username": "a", "password": "b"}}
A, B = {"domain": "*.a.example", "port": 443}, {"ip_cidr": "10.0.0.0/8"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([mapping(mapped(1, 9, 11))], [mapping(mapped(6, 9, 16)), mapping(mapped(1, 5, 11))]),
        ([proxy(A, B)], [proxy(B, A, A)]),
        ([proxy(B)], [proxy({"ip_cidr": "10.128.0.0/9"}, {"ip_cidr": "10.0.0.0/9"})]),
        (
            [proxy({**A, "port": 1, "port_end": 9})],
            [proxy({**A, "port": 5, "port_end": 9}, {**A, "port": 1, "port_end": 6})],
        ),
        ([proxy()], [proxy(A, {})]),
        ([proxy(A)], [proxy(A, {"domain": "db.a.example", "port": 443}, {"domain": "*.x.a.example", "port": 443})]),
        ([proxy({"domain": "db*"})], [proxy({"domain": "db*"}, {"domain": "db.a*"}, {"domain": "db"})]),
        ([proxy(), socks()], [socks(), proxy(unmatched="refuse")]),
    ],
)
def test_another_way_to_say_the_same_is_no_difference(old: list[dict[str, Any]], new: list[dict[str, Any]]) -> None:
    assert compare(plan(*old), plan(*new)).empty
    assert compare(plan(*new), plan(*old)).empty


@pytest.mark.parametrize(
    ("old", "new", "danger", "fields"),
    [
        ([proxy(A)], [proxy(A, unmatched="direct")], Danger.UNPROTECTED, ["unmatched"]),
        ([proxy(A, unmatched="direct")], [proxy(A)], Danger.TRUST, ["unmatched"]),
        ([proxy(A, B, unmatched="direct")], [proxy(A, unmatched="direct")], Danger.UNPROTECTED, [FILTERS]),
        ([proxy(A, B)], [proxy(A)], Danger.TRUST, [FILTERS]),
        ([proxy(B, unmatched="direct")], [proxy({"ip_cidr": "10.0.0.0/7"}, unmatched="direct")], Danger.PEER,
         [FILTERS]),
        ([proxy(B, unmatched="direct")], [proxy({"ip_cidr": "10.0.0.0/9"}, unmatched="direct")], Danger.UNPROTECTED,
         [FILTERS]),
        ([proxy(A)], [proxy({"domain": "db.a.example", "port": 443})], Danger.TRUST, [FILTERS]),
        ([proxy({"domain": "db.a.example"})], [proxy({"domain": "db*"})], Danger.PEER, [FILTERS]),
        ([proxy(A)], [proxy(A, B)], Danger.PEER, [FILTERS]),
        ([proxy(A)], [proxy(A, port=41001)], Danger.TRUST, ["listens on"]),
        ([proxy(A)], [proxy(A, host="0.0.0.0")], Danger.UNPROTECTED, ["listens on"]),
        ([socks(**AUTH)], [socks()], Danger.UNPROTECTED, ["auth"]),
        ([socks(**AUTH)], [socks("0.0.0.0", **AUTH)], Danger.TRUST, ["listens on"]),
        ([socks()], [socks(**AUTH)], Danger.TRUST, ["auth"]),
        ([socks(), proxy(A)], [proxy(A)], Danger.REFUSED, []),
        ([proxy(A)], [socks(), proxy(A)], Danger.PEER, []),
        ([proxy(A)], [proxy(A), proxy(B, port=1, unmatched="direct")], Danger.UNPROTECTED, []),
        ([mapping(mapped(1, 9, 11))], [mapping(mapped(1, 9, 12))], Danger.PEER, ["leads to"]),
        ([mapping(mapped(1, 9, 11))], [mapping(mapped(11, 19, 11))], Danger.TRUST, ["listens on"]),
        ([mapping(mapped(1, 9, 11))], [mapping(mapped(1, 8, 11))], Danger.REFUSED, []),
    ],
)  # fmt: skip
def test_a_change_is_weighed(
    old: list[dict[str, Any]], new: list[dict[str, Any]], danger: Danger, fields: list[str]
) -> None:
    (change,) = differ(plan(*old), plan(*new))
    assert change.danger is danger
    assert [field.field for field in change.fields] == fields


def test_trust_of_a_door_is_compared_by_field() -> None:
    (change,) = differ(plan(socks()), plan(socks(), no_ra=True))
    assert change.danger is Danger.UNPROTECTED
    assert [field.field for field in change.fields] == ["no_ra", "roles"]


def test_only_the_ports_that_change_are_named() -> None:
    (change,) = differ(
        plan(mapping(mapped(1, 9, 11))), plan(mapping(mapped(1, 3, 11), mapped(4, 5, 1), mapped(6, 9, 16)))
    )
    assert change.ports == (4, 5)


def test_secrets_are_neither_shown_nor_part_of_the_identity() -> None:
    other: dict[str, Any] = {"auth": {"username": "a", "password": "geheim"}}
    (change,) = differ(plan(socks(**AUTH)), plan(socks(**other)))
    assert "geheim" not in "".join(field.after for field in change.fields)
    (again,) = differ(plan(socks(**AUTH)), plan(socks(auth={"username": "a", "password": "c"})))
    assert change.identity == again.identity
    (gone,) = differ(plan(socks(**AUTH)), plan(socks()))
    assert change.identity != gone.identity
