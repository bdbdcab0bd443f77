"""Filters of an HTTP proxy as values, and what they may not be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tng_compiler.diagnostics.codes import Code
from tng_compiler.model.types import HttpProxy, PortRange
from tng_compiler.pipeline import compile_bytes
from tng_compiler.plan.types import Plan

LISTEN = {"host": "127.0.0.1", "port": 41000}


def outcome(**more: Any) -> tuple[Plan | None, list[Code]]:
    document = {"add_ingress": [{"http_proxy": {"proxy_listen": LISTEN, **more}, "no_ra": True}]}
    found = compile_bytes("test.json", json.dumps(document).encode())
    return found.plan, [item.diagnostic.code for item in found.found if item.is_error]


def proxy(**more: Any) -> HttpProxy:
    plan, _ = outcome(**more)
    assert plan is not None
    (door,) = plan.doors
    assert isinstance(door.mode, HttpProxy)
    return door.mode


@pytest.mark.parametrize("filters", [{}, {"dst_filters": []}, {"dst_filters": [{}]}, {"dst_filters": {"domain": "*"}}])
def test_everything_is_one_filter(filters: dict[str, Any]) -> None:
    mode = proxy(**filters)
    (only,) = mode.filters
    assert (only.domain, only.regex, only.network, only.ports) == (None, None, None, PortRange(1, 65535))
    assert mode.unmatched == "refuse"


def test_kinds_and_ports() -> None:
    items = [
        {"domain": "*.Example.COM."},
        {"domain_regex": "^a", "port": 443},
        {"ip": "192.0.2.1"},
        {"ip_cidr": "2001:db8::/32", "port": 1, "port_end": 9},
    ]
    found = proxy(dst_filters=items).filters
    assert [each.domain for each in found] == ["*.example.com", None, None, None]
    assert [each.regex for each in found] == [None, "^a", None, None]
    assert [str(each.network) for each in found] == ["None", "None", "192.0.2.1/32", "2001:db8::/32"]
    assert [each.ports.first for each in found] == [1, 443, 1, 1]
    assert found[3].ports.last == 9


def test_all_patterns_together_are_bounded() -> None:
    patterns = [{"domain_regex": f"{letter}{{250}}"} for letter in "abcd"]
    assert outcome(dst_filters=patterns[:3])[1] == []
    assert outcome(dst_filters=patterns)[1] == [Code.BAD_FILTER]
