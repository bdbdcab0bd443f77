"""The schema is the language: for jsonschema as it comes, for our validator, and for editors."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from jsonschema.validators import extend
from referencing import Registry

import tng_schema
from compiler.documents import EXAMPLES, VERIFY, egress, ingress
from tng_compiler.shape import fits
from tng_compiler.shape.validator import _config, errors

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
    assert fits.document()(document)


def test_extensions_say_that_they_are_ours() -> None:
    for name in ("ipv6", "forwarded", "udp", "issuer", "max_session_age"):
        definition = SCHEMA["$defs"].get(name) or SCHEMA["$defs"]["verify"]["properties"][name]
        assert "extension of ours" in definition["title"]


JSON = st.one_of(
    st.none(), st.booleans(), st.integers(-1, 65537), st.floats(1, 65535), st.text(max_size=2),
    st.lists(st.integers(0, 2), max_size=2), st.dictionaries(st.sampled_from(("port", "host", "in")), st.integers(0, 2))
)  # fmt: skip
DOCUMENTS = [json.loads(path.read_text("utf-8")) for path in EXAMPLES]
# Every item is looked at, as jsonschema does.
SLOW = extend(  # type: ignore[no-untyped-call]
    type(_config()), {name: Draft7Validator.VALIDATORS[name] for name in ("items", "additionalProperties")}
)(SCHEMA, registry=Registry())


@settings(max_examples=300)
@given(st.data())
def test_what_is_passed_over_is_right(data: st.DataObject) -> None:
    """Documents with one value changed, added, or taken away."""
    made = copy.deepcopy(data.draw(st.sampled_from(DOCUMENTS)))
    place: Any = made
    while isinstance(place, (dict, list)) and place:
        step = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[step], (dict, list)) or data.draw(st.booleans()):
            match data.draw(st.sampled_from(("change", "add", "remove"))):
                case "change":
                    place[step] = data.draw(JSON)
                case "add" if isinstance(place, dict):
                    place[data.draw(st.sampled_from(("port_end", "prot", "listen_port", "no_ra")))] = data.draw(JSON)
                case _:
                    del place[step]
            break
        place = place[step]
    assert not fits.document()(made) or not list(SLOW.iter_errors(made))


def test_what_is_too_much_is_not_looked_at() -> None:
    (error,) = errors({"add_ingress": [{}] * 1001})
    assert error.validator == "maxItems"
    (error,) = errors(ingress({"capture_dst": []}, verify={**VERIFY, "as_headers": {f"x{n}": 1 for n in range(257)}}))
    assert error.validator == "maxProperties"


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
