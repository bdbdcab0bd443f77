"""The schema for editors, by jsonschema of its draft; ``scripts/editors`` asks what editors themselves have."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft7Validator
from referencing import Registry

import tng_schema
from compiler.documents import ATTEST, VERIFY, egress, ingress, text
from schema.documents import cases
from tng_compiler.pipeline import compile_bytes
from tng_schema.editors import for_editors

SHIPPED = tng_schema.load("config")
FOR_EDITORS = for_editors(SHIPPED)
CASES = cases()
PORT = {"capture_dst": {"port": 8080}}
NOT_HERE = {"shape_port_as_float": "to jsonschema 8080.0 is an integer, to editors and to us it is none"}
VALIDATORS = [Draft7Validator(schema, registry=Registry()) for schema in (SHIPPED, FOR_EDITORS)]


@pytest.mark.parametrize("name", sorted(CASES.keys() - NOT_HERE.keys()))
def test_an_editor_says_what_check_demands(name: str) -> None:
    document, good = CASES[name]
    assert [validator.is_valid(json.loads(document)) for validator in VALIDATORS] == [good, good]


def test_most_faults_are_seen_by_an_editor() -> None:
    """A list of exceptions must not grow without being noticed."""
    wrong = [name for name, (_, good) in CASES.items() if not good]
    assert len(wrong) >= 84


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every object of a schema."""
    if isinstance(schema, list):
        return [found for item in schema for found in nodes(item)]
    if not isinstance(schema, dict):
        return []
    return [schema, *(found for item in schema.values() for found in nodes(item))]


def test_nothing_offers_null() -> None:
    for node in nodes(FOR_EDITORS):
        assert not isinstance(node.get("type"), list)
        assert "default" not in node or node["default"] is not None


@pytest.mark.parametrize(
    "document",
    [
        ingress({**PORT, "listen_port": None, "so_mark": None}),
        ingress({"capture_dst": {"port": 1, "host": None, "ipset": None, "port_end": None}}),
        ingress(PORT, no_ra=True, verify=None, attest=None, rats_tls=None),
        ingress(PORT, verify={**VERIFY, "issuer": None, "max_session_age": None}, attest=None, no_ra=False),
        egress(PORT, attest={**ATTEST, "as_addr": None, "refresh_interval": None}),
        {**ingress(PORT), "control_interface": None, "add_egress": [], "$schema": "./tng.schema.json"},
    ],
    ids=["netfilter", "destination", "no_ra", "verify", "attest", "document"],
)
def test_null_for_what_is_optional_is_no_fault(document: dict[str, object]) -> None:
    assert not [item for item in compile_bytes("x", text(document)).found if item.is_error]
    assert [list(validator.iter_errors(document)) for validator in VALIDATORS] == [[], []]


def test_a_document_names_its_schema_and_nothing_looks_there() -> None:
    """Offline, by any command: it changes nothing but the digest of the text."""
    document = ingress(PORT)
    said = {"$schema": "https://nowhere.invalid/tng.schema.json", **document}
    with_it, without = (compile_bytes("x", text(each)) for each in (said, document))
    assert with_it.plan is not None
    assert without.plan is not None
    assert with_it.plan.entries == without.plan.entries
    assert with_it.found == ()
    wrong = compile_bytes("x", text({**document, "$schema": 5}))
    assert [item.diagnostic.message for item in wrong.found] == ["expected a text, found the number `5`"]
