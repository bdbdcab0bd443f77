"""The second stage as a whole: a ``Document`` to a ``Shape``. jsonschema's errors become our diagnostics here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Diagnostic, Place, Severity
from tng_compiler.diagnostics.pointer import pointer_of
from tng_compiler.diagnostics.quoting import describe, json_text, quote
from tng_compiler.shape.expected import expected
from tng_compiler.shape.fits import document
from tng_compiler.shape.guesses import guess
from tng_compiler.shape.known import CHOICES, ELSEWHERE, FIELDS, MODES, NULLABLE, place_of
from tng_compiler.shape.nearest import nearest

MAX_FAULTS = 100
"""Faults of shape reported in one run: a generator that errs once errs 100,000 times."""

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """``value`` as it was read. ``bad``: pointers whose value a later stage must not use, because it was refused here.

    ``meant``: pointers of fields that are absent only because their name is misspelt or their mode is not supported.
    """

    value: object
    faults: tuple[Diagnostic, ...]
    bad: frozenset[str]
    meant: frozenset[str]


@dataclass(slots=True)
class _Findings:
    faults: list[Diagnostic] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)
    meant: set[str] = field(default_factory=set)
    missing: list[tuple[str, Diagnostic]] = field(default_factory=list)

    def add(self, code: Code, path: Path, message: str, help_: str | None = None, *, key: bool = False) -> None:
        place = Place(pointer_of(path), "key" if key else "value")
        self.faults.append(Diagnostic(code, Severity.ERROR, message, place, help=help_))


def check(value: object) -> Shape:
    """Check the shape of a whole document; any JSON value has an answer."""
    found = _Findings()
    for error in () if document()(value) else _errors(value):
        _translate(found, error)
        if len(found.faults) + len(found.missing) >= MAX_FAULTS:
            found.faults.append(too_many())
            break
    found.faults.extend(fault for pointer, fault in found.missing if pointer not in found.meant)
    if isinstance(value, dict) and not found.faults and not value.get("add_ingress") and not value.get("add_egress"):
        message = "expected at least one entry in `add_ingress` or `add_egress`, found none"
        found.add(Code.NO_ENTRIES, (), message, "an empty configuration would protect nothing")
    return Shape(value, tuple(found.faults), frozenset(found.bad), frozenset(found.meant))


def _errors(value: object) -> Iterator[Any]:
    # Imported here: jsonschema is a fifth of the time of a small document, and one without a fault does without.
    from tng_compiler.shape.validator import errors

    return errors(value)


def too_many() -> Diagnostic:
    """Return the last fault of a stage that found more than anybody reads."""
    message = f"expected fewer than {MAX_FAULTS} faults, found more"
    return Diagnostic(Code.TOO_MANY_FAULTS, Severity.ERROR, message, Place(""), help="fix these first")


def _translate(found: _Findings, error: Any) -> None:
    path: Path = tuple(error.absolute_path)
    match error.validator:
        case "additionalProperties":
            for name in islice(_extras(error.instance, error.schema), MAX_FAULTS):
                _unknown_field(found, path, name, error)
        case "required":
            for name in error.validator_value:
                _missing_field(found, path, name, error.instance)
        case "enum":
            found.bad.add(pointer_of(path))
            _unknown_choice(found, path, error)
        case "minLength":
            found.bad.add(pointer_of(path))
            found.add(Code.EMPTY_TEXT, path, "expected a text that is not empty, found an empty one")
        case "maxItems" | "maxProperties":
            found.bad.add(pointer_of(path))
            message = f"expected at most {error.validator_value} of them, found {len(error.instance)}"
            found.add(Code.OUT_OF_RANGE, path, message)
        case "minimum" | "maximum":
            found.bad.add(pointer_of(path))
            message = f"expected {expected(error.schema)}, found {describe(error.instance)}"
            found.add(Code.OUT_OF_RANGE, path, message, _RANGE_HELP.get(str(path[-1])))
        case _:
            found.bad.add(pointer_of(path))
            _wrong_type(found, path, error)


_RANGE_HELP = {
    "so_mark": "0 is the mark of all other traffic: nothing could be told from our own",
    "port": "leave `port` out to mean every port",
    "listen_port": "leave `listen_port` out and one is allocated",
}


def _extras(instance: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    return (name for name in instance if name not in schema["properties"])


def _unknown_field(found: _Findings, path: Path, name: str, error: Any) -> None:
    kind = place_of(path)
    known = FIELDS.get(kind, {})
    here = (*path, name)
    if name in known:
        if error.instance[name] is None and name in NULLABLE:
            return
        _unsupported(found, here, name, known[name], modes=MODES & error.instance.keys())
        return
    if (kind, name) in ELSEWHERE:
        found.meant.add(pointer_of((*path, "netfilter")))
        message = f"expected a field of {_of(kind)}, found {quote(name)}, which is none here"
        found.add(Code.UNKNOWN_FIELD, here, message, ELSEWHERE[kind, name], key=True)
        return
    meant = nearest(name, error.schema["properties"]) or nearest(name, known)
    message = f"expected a field of {_of(kind)}, found {quote(name)}, which the language does not have"
    if meant is None:
        help_ = f"fields here: {', '.join(error.schema['properties'])}"
    elif meant in error.instance:
        help_ = f"did you mean `{meant}`, which is here already?"
    else:
        help_ = f"did you mean `{meant}`?"
        found.meant.add(pointer_of((*path, meant)))
    found.add(Code.UNKNOWN_FIELD, here, message, help_, key=True)


def _unsupported(found: _Findings, here: Path, name: str, what: str, modes: frozenset[str]) -> None:
    if name in MODES:
        found.meant.add(pointer_of((*here[:-1], "netfilter")))
        if other := next((mode for mode in ("netfilter", "mapping", "http_proxy", "socks5") if mode in modes), None):
            message = f"expected one mode an entry, found `{other}` and `{name}`"
            found.add(Code.SEVERAL_MODES, here, message, "make two entries of them", key=True)
            return
    message = f"expected what this version supports, found `{name}` ({what}), known, but not supported yet"
    found.add(Code.NOT_SUPPORTED_YET, here, message, "remove it, or use the Rust TNG for this document", key=True)


def _of(kind: str) -> str:
    return {"": "the document", "destination": "a destination"}.get(kind, f"`{kind}`" if kind else "")


def _missing_field(found: _Findings, path: Path, name: str, instance: dict[str, Any]) -> None:
    if name in instance:
        return
    pointer = pointer_of((*path, name))
    message = f"expected `{name}` in {_of(place_of(path))}, found none"
    help_ = f'add "{name}": {_EXAMPLES.get(name, "...")}'
    diagnostic = Diagnostic(Code.MISSING_FIELD, Severity.ERROR, message, Place(pointer_of(path)), help=help_)
    if (pointer, diagnostic) not in found.missing:
        found.missing.append((pointer, diagnostic))


_EXAMPLES = {
    "port": "50000",
    "policy_ids": '["default"]',
    "proxy_listen": '{"host": "127.0.0.1", "port": 1080}',
    "in": '{"host": "127.0.0.1", "port": 10001}',
    "out": '{"host": "192.0.2.1", "port": 20001}',
    "host": '"192.0.2.1"',
    "aa_addr": '"unix:///run/confidential-containers/attestation-agent/attestation-agent.sock"',
}


def _unknown_choice(found: _Findings, path: Path, error: Any) -> None:
    name = str(path[-1])
    value = error.instance
    if isinstance(value, str) and value in CHOICES.get(name, {}):
        found.bad.add(pointer_of(path[:-1]))
        found.meant.update(pointer_of((*path[:-1], other)) for other in ("as_addr", "aa_addr", "policy_ids"))
        what = CHOICES[name][value]
        message = f"expected {expected(error.schema)}, found `{value}` ({what}), known, but not supported yet"
        found.add(Code.NOT_SUPPORTED_YET, path, message, "use the Rust TNG for this document")
        return
    if not isinstance(value, str):
        _wrong_type(found, path, error)
        return
    meant = nearest(value, error.schema["enum"])
    message = f"expected {expected(error.schema)}, found {json_text(value)}"
    found.add(Code.UNKNOWN_CHOICE, path, message, f"did you mean `{meant}`?" if meant else None)


def _wrong_type(found: _Findings, path: Path, error: Any) -> None:
    wanted = expected(error.schema)
    if error.instance is None:
        help_ = "leave the field out; null means absent only for optional scalars and blocks"
        found.add(Code.NULL_VALUE, path, f"expected {wanted}, found null", help_)
        return
    message = f"expected {wanted}, found {describe(error.instance)}"
    found.add(Code.WRONG_TYPE, path, message, _type_help(error.schema, error.instance) or guess(path, error.instance))


def _type_help(schema: dict[str, Any], instance: object) -> str | None:
    types = schema.get("type", ())
    if "integer" in types and isinstance(instance, str) and instance.isdecimal():
        return f"write {instance} without quotes"
    if "integer" in types and isinstance(instance, float) and instance.is_integer():
        return f"write {instance:.0f}"
    if "boolean" in types and instance in ("true", "false"):
        return f"write {instance} without quotes"
    if types == "array" and isinstance(instance, (str, dict)):
        return "write a list: [ ... ]"
    return None
