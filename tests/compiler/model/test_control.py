"""``control_interface``, from the document to the manifest."""

from __future__ import annotations

import json

import pytest

from compiler.documents import ingress
from tng_compiler.cli.outputs import documents
from tng_compiler.diagnostics.codes import Code
from tng_compiler.emit.plan_text import render
from tng_compiler.pipeline import Outcome, compile_bytes

PORT = {"capture_dst": {"port": 8080}}


def compiled(interface: object) -> Outcome:
    return compile_bytes("x.json", json.dumps({**ingress(PORT), "control_interface": interface}).encode())


@pytest.mark.parametrize(
    ("restful", "host"),
    [
        ({"port": 50000}, "127.0.0.1"),
        ({"host": None, "port": 50000}, "127.0.0.1"),
        ({"host": "localhost", "port": 50000}, "127.0.0.1"),
        ({"host": "[::1]", "port": 50000}, "::1"),
        ({"host": "::", "port": 50000}, "::"),
        ({"host": "127.0.0.9", "port": 50000}, "127.0.0.9"),
    ],
    ids=str,
)
def test_it_listens_on_loopback_unless_told_otherwise(restful: dict[str, object], host: str) -> None:
    outcome = compiled({"restful": restful})
    assert outcome.plan is not None
    assert json.loads(documents(outcome.plan)["manifest.json"])["control"] == {"host": host, "port": 50000}
    assert [item.diagnostic.code for item in outcome.found] == ([Code.CONTROL_OPEN] if host == "::" else [])
    shown = f"[{host}]" if ":" in host else host
    assert f"says how it stands at http://{shown}:50000/status/\n" in render(outcome.plan)


@pytest.mark.parametrize("interface", [None, {}, {"restful": None}], ids=str)
def test_without_one_nothing_listens_on_tcp(interface: object) -> None:
    outcome = compiled(interface)
    assert outcome.plan is not None
    assert not outcome.found
    assert "control" not in json.loads(documents(outcome.plan)["manifest.json"])


def test_its_port_is_given_to_no_entry() -> None:
    outcome = compiled({"restful": {"port": 15001}})
    assert outcome.plan is not None
    assert outcome.plan.entries[0].listen_port == 15002


@pytest.mark.parametrize("host", ["gateway", "fe80::1%eth0", "10.0.0.0/8", "10.0.0.256", " 127.0.0.1"])
def test_what_is_no_address_is_refused(host: str) -> None:
    outcome = compiled({"restful": {"host": host, "port": 50000}})
    assert outcome.plan is None
    assert [item.diagnostic.code for item in outcome.found] == [Code.BAD_CONTROL_HOST]
