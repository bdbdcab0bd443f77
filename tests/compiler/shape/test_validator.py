"""The schema is the language: for jsonschema as it comes, for our validator, and for editors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from referencing import Registry

import tng_schema
from compiler.documents import EXAMPLES, egress, ingress
from tng_compiler.shape.plain import plain
from tng_compiler.shape.validator import errors

SCHEMA = tng_schema.load("config")
PLAIN_JSONSCHEMA = Draft7Validator(SCHEMA, registry=Registry())


def fields(schema: Any, where: str = "#") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of every object of the schema, references resolved."""
    for name, member in schema.get("properties", {}).items():
        yield f"{where}/{name}", SCHEMA["$defs"][member["$ref"].rpartition("/")[2]] if "$ref" in member else member
    if where == "#":
        for name, definition in SCHEMA["$defs"].items():
            yield from fields(definition, f"#/$defs/{name}")


@pytest.mark.parametrize(("where", "field"), list(fields(SCHEMA)))
def test_an_editor_can_document_and_complete_every_field(where: str, field: dict[str, Any]) -> None:
    assert field["title"], where
    assert field["description"], where
    assert field["examples"], where


@pytest.mark.parametrize(("where", "field"), list(fields(SCHEMA)))
def test_examples_and_defaults_are_valid_themselves(where: str, field: dict[str, Any]) -> None:
    here = Draft7Validator({**field, "$defs": SCHEMA["$defs"]}, registry=Registry())
    for value in [*field["examples"], *([field["default"]] if "default" in field else [])]:
        assert here.is_valid(value), (where, value)


def test_the_schema_is_a_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_pass_both_validators(path: Any) -> None:
    document = json.loads(path.read_text("utf-8"))
    assert PLAIN_JSONSCHEMA.is_valid(document)
    assert list(errors(document)) == []


def test_extensions_say_that_they_are_ours() -> None:
    for name in ("ipv6", "forwarded", "udp", "issuer", "max_session_age"):
        definition = SCHEMA["$defs"].get(name) or SCHEMA["$defs"]["verify"]["properties"][name]
        assert "extension of ours" in definition["title"]


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(("host", "ipset", "port", "port_end", "prot")),
        st.one_of(st.none(), st.booleans(), st.integers(-1, 65537), st.floats(1, 65535), st.text(max_size=2)),
    )
)
def test_what_is_passed_over_as_plain_is_right(item: dict[str, Any]) -> None:
    if plain(item):
        item_schema = {"$ref": "#/$defs/capture_dst_item", "$defs": SCHEMA["$defs"]}
        # Relations between fields belong to the model.
        relaxed = json.loads(json.dumps(item_schema).replace('"not"', '"x-not"').replace("dependencies", "x-dep"))
        relaxed["$defs"]["capture_dst_item"].pop("anyOf")
        for field in ("ipset", "host"):
            relaxed["$defs"]["capture_dst_item"]["properties"][field].pop("pattern")
        assert Draft7Validator(relaxed, registry=Registry()).is_valid(item)


@pytest.mark.parametrize("port", [8080.0, True, "8080", 0, 65536, -1, [8080]])
def test_only_integers_in_range_are_ports(port: object) -> None:
    assert len(list(errors(ingress({"capture_dst": {"port": port}})))) == 1


def test_the_branch_is_chosen_by_type_and_its_own_error_reported() -> None:
    (error,) = errors(ingress({"capture_dst": [{"port": 1}, {"port": "x"}]}))
    assert list(error.absolute_path)[-3:] == ["capture_dst", 1, "port"]
    (error,) = errors(egress({"capture_cgroup": ["a", 5]}))
    assert list(error.absolute_path)[-2:] == ["capture_cgroup", 1]


def test_no_remote_reference_is_ever_followed() -> None:
    """An explicit empty registry: a ``$ref`` to the network fails instead of downloading."""
    opened: list[str] = []
    sys.addaudithook(lambda event, _args: opened.append(event) if event.startswith("socket.") else None)
    list(errors(ingress({"capture_dst": {"port": "x"}, "$ref": "https://example.com/schema.json"})))
    assert opened == []


def test_texts_that_are_passed_over_have_no_other_condition() -> None:
    conditions = {
        name: value for name, value in tng_schema.load("config")["$defs"]["cgroup_path"].items()
        if name not in ("title", "description", "examples", "pattern")  # patterns are the model's to check
    }  # fmt: skip
    assert conditions == {"type": "string", "minLength": 1}
