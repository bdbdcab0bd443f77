"""The manifest's reader: what the compiler writes is read whole, and whatever is wrong is refused with its path."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tng_compiler.emit import manifest as manifest_text
from tng_compiler.emit import nft
from tng_compiler.pipeline import compile_bytes
from tng_runtime.errors import HostError
from tng_runtime.manifest import Manifest, load_bundle, parse_manifest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.json"))
SHA = "0" * 64
SERVICE = {"as_addr": "http://127.0.0.1:8081/", "as_headers": {"X-Tenant": "a"}}
VERIFY = {
    "model": "background_check",
    "service": SERVICE,
    "policy_ids": ["default"],
    "trusted_certs_paths": ["/etc/ca.pem"],
    "skip_as_token_cert_verify": False,
    "issuer": "somebody",
    "max_session_age": 3600,
}
ATTEST = {
    "model": "passport",
    "aa_path": "/run/aa.sock",
    "refresh_interval": 600,
    "service": SERVICE,
    "policy_ids": ["default"],
}
ENTRY = {
    "pointer": "/add_ingress/0",
    "role": "ingress",
    "listen_port": 15001,
    "mapping": [],
    "socks5": None,
    "http_proxy": None,
    "so_mark": 565,
    "families": ["ipv4", "ipv6"],
    "client_address": "tunnel",
    "takes_forwarded": False,
    "proxy_protocol": None,
    "attest": ATTEST,
    "verify": VERIFY,
}
WHOLE = {
    "manifest_version": 2,
    "compiler_version": "0.1.0",
    "config_sha256": SHA,
    "ruleset_sha256": SHA,
    "guard_sha256": SHA,
    "table": "tng",
    "ipsets": [{"set": "blocked6", "ipset": "blocked", "family": "ipv6"}],
    "guard_table": "tng_guard",
    "way_back": None,
    "cgroups": {
        "known": [{"set": "known_cgroups_2", "level": 2}],
        "sets": [{"set": "ingress_0_inside_2", "paths": ["system.slice/web\\x2d1@a:b.service"]}],
        "services": [{"entry": "/add_egress/0", "paths": ["web.slice"], "ports": [[80, 80], [8000, 8100]]}],
    },
    "entries": [ENTRY],
}
MISSING = object()


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def changed(path: str, value: object) -> dict[str, Any]:
    """The whole manifest with ``value`` at ``path``, a JSON pointer."""
    document: dict[str, Any] = json.loads(encoded(WHOLE))
    *way, last = path.strip("/").split("/")
    place: Any = document
    for step in way:
        place = place[int(step)] if isinstance(place, list) else place[step]
    if value is MISSING:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return document


def refused(data: bytes) -> HostError:
    with pytest.raises(HostError) as caught:
        parse_manifest(data)
    assert caught.value.exit_code == 1
    return caught.value


def members(value: object, path: str = "") -> list[str]:
    """The pointers of all members below ``value``, but for those of the map of headers."""
    if isinstance(value, dict):
        return [
            found
            for name, item in value.items()
            for found in (f"{path}/{name}", *([] if name == "as_headers" else members(item, f"{path}/{name}")))
        ]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in members(item, f"{path}/{index}")]
    return []


WRONG: list[tuple[str, object]] = [
    ("/manifest_version", 1),
    ("/manifest_version", True),
    ("/manifest_version", "2"),
    ("/compiler_version", ""),
    ("/config_sha256", "A" * 64),
    ("/config_sha256", SHA + "\n"),
    ("/ruleset_sha256", SHA[1:]),
    ("/guard_sha256", "A" * 64),
    ("/guard_table", "tng_other_guard"),
    ("/entries/0/proxy_protocol", "v2"),  # on an ingress
    ("/entries/0/proxy_protocol", "v1"),
    ("/entries/0/client_address", "original"),  # on an ingress
    ("/entries/0/client_address", None),
    ("/entries/0/takes_forwarded", 1),
    ("/way_back", {"mark": 12288, "routing_table": 29799, "priority": 116}),  # for nobody
    ("/guard_table", "tng"),
    ("/guard_table", "tng_guard; drop"),
    ("/table", "other"),
    ("/table", "tng_"),
    ("/table", "tng; delete table inet filter"),
    ("/cgroups/known/0/set", "known_cgroups_2; drop"),
    ("/cgroups/known/0/level", 0),
    ("/cgroups/known/0/level", 256),
    ("/cgroups/known/0/level", "2"),
    ("/cgroups/sets/0/set", "blocked"),
    ("/cgroups/sets/0/paths", []),
    ("/cgroups/sets/0/paths/0", '"'),
    ("/cgroups/sets/0/paths/0", "a\n"),
    ("/cgroups/sets/0/paths/0", "/a"),
    ("/cgroups/sets/0/paths/0", "a/"),
    ("/cgroups/sets/0/paths/0", "a//b"),
    ("/cgroups/sets/0/paths/0", "a/../b"),
    ("/cgroups/sets/0/paths/0", "."),
    ("/cgroups", {"known": [], "services": [], "sets": [{"set": "ingress_0_inside_1", "paths": ["a"]}] * 2}),
    ("/cgroups/services/0/entry", "/add_ingress/0"),
    ("/cgroups/services/0/paths/0", "../a"),
    ("/cgroups/services/0/ports/0", [80]),
    ("/cgroups/services/0/ports/0", [81, 80]),
    ("/cgroups/services/0/ports/0/1", 65536),
    ("/ipsets/0", "blocked"),
    ("/ipsets/0/set", "x; drop"),
    ("/ipsets/0/ipset", "$(id)"),
    ("/ipsets/0/ipset", "-f"),
    ("/ipsets/0/ipset", "a" * 32),
    ("/ipsets/0/family", "inet"),
    ("/ipsets", [{"set": "a", "ipset": "a", "family": "ipv4"}, {"set": "a", "ipset": "b", "family": "ipv4"}]),
    ("/entries", []),
    ("/entries", {}),
    ("/entries", [ENTRY, ENTRY]),
    ("/entries/0", None),
    ("/entries/0/pointer", "/add_ingress/-1"),
    ("/entries/0/role", "both"),
    ("/entries/0/listen_port", 0),
    ("/entries/0/listen_port", 65536),
    ("/entries/0/listen_port", 15001.0),
    ("/entries/0/listen_port", True),
    ("/entries/0/so_mark", 0),
    ("/entries/0/so_mark", 1 << 32),
    ("/entries/0/families", []),
    ("/entries/0/families", ["ipv4", "ipv4"]),
    ("/entries/0/families/0", "ipx"),
    ("/entries/0/attest", False),
    ("/entries/0/attest/model", "other"),
    ("/entries/0/attest/aa_path", "run/aa.sock"),
    ("/entries/0/attest/refresh_interval", -1),
    ("/entries/0/attest/service", None),
    ("/entries/0/attest/policy_ids/0", 1),
    ("/entries/0/verify/model", None),
    ("/entries/0/verify/service", None),
    ("/entries/0/verify/service/as_addr", "ftp://x"),
    ("/entries/0/verify/service/as_addr", "http://"),
    ("/entries/0/verify/service/as_headers", []),
    ("/entries/0/verify/service/as_ca_paths", "/ca.pem"),
    ("/entries/0/verify/service/as_headers/X-Tenant", 1),
    ("/entries/0/verify/policy_ids", []),
    ("/entries/0/verify/policy_ids/0", ""),
    ("/entries/0/verify/trusted_certs_paths/0", "ca.pem"),
    ("/entries/0/verify/skip_as_token_cert_verify", 0),
    ("/entries/0/verify/issuer", ""),
    ("/entries/0/verify/max_session_age", 0),
]


SIDES = ("attest", "verify")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_what_the_compiler_writes_is_read_without_loss(example: Path, tmp_path: Path) -> None:
    plan = compile_bytes(example.name, example.read_bytes()).plan
    assert plan is not None
    ruleset, guard = nft.render(plan), nft.render_guard(plan)
    written = manifest_text.render(plan, ruleset, guard)
    document = json.loads(written)
    (tmp_path / "manifest.json").write_text(written, encoding="utf-8")
    (tmp_path / "ruleset.nft").write_text(ruleset, encoding="utf-8")
    (tmp_path / "guard.nft").write_text(guard, encoding="utf-8")
    bundle = load_bundle(tmp_path)
    assert (bundle.ruleset, bundle.guard) == (ruleset, guard)
    # What says nothing is left out.
    document["control"] = None
    for service in (entry[side] and entry[side]["service"] for entry in document["entries"] for side in SIDES):
        if service:
            service.setdefault("as_ca_paths", [])
    assert as_document(bundle.manifest) == {name: document[name] for name in document if name != "manifest_version"}


def as_document(value: object) -> object:
    """Frozen values as the JSON that they were read from."""
    if isinstance(value, tuple):
        return [as_document(item) for item in value]
    if hasattr(value, "__dataclass_fields__"):
        plain = {name: as_document(getattr(value, name)) for name in value.__dataclass_fields__}
        if "as_headers" in plain:
            plain["as_headers"] = dict(value.as_headers)  # type: ignore[attr-defined]  # a Service has them
        return plain
    return value


@pytest.mark.parametrize(("path", "value"), WRONG, ids=lambda value: str(value)[:40])
def test_a_wrong_member_is_refused_with_its_path(path: str, value: object) -> None:
    error = refused(encoded(changed(path, value)))
    assert f"{path}:" in error.message


@pytest.mark.parametrize("path", members(WHOLE))
def test_a_missing_member_is_refused_with_its_path(path: str) -> None:
    assert f"{path}: is missing" in refused(encoded(changed(path, MISSING))).message


@pytest.mark.parametrize(
    "at", ["", "/entries/0", "/entries/0/attest", "/entries/0/verify", "/entries/0/verify/service"]
)
def test_an_unknown_member_is_refused_because_it_may_restrict_something(at: str) -> None:
    assert f"{at}/only_on_tuesdays: is not known" in refused(encoded(changed(f"{at}/only_on_tuesdays", None))).message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a JSON document"),
        (b"{", "not a JSON document"),
        (b"\xff\xfe", "not a JSON document"),
        (b'{"table":"tng","table":"tng"}', "twice"),
        (b'{"manifest_version":1,"entries":[{"role":"a","role":"b"}]}', "twice"),
        (b'{"manifest_version":NaN}', "NaN"),
        (b'{"manifest_version":' + b"9" * 5000 + b"}", "not a JSON document"),
        (b"[" * 100_000, "not a JSON document"),
        (b"null", "expected an object"),
    ],
    ids=["empty", "cut", "not_utf8", "twice", "twice_below", "nan", "huge_number", "deep", "null"],
)
def test_what_is_no_strict_json_is_refused(data: bytes, reason: str) -> None:
    assert reason in refused(data).message


def test_a_document_just_within_the_depth_of_the_parser_is_refused_in_words() -> None:
    """Saying what was wrong must not need more depth than reading it did."""
    said = set()
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit()):
        message = refused(b'{"manifest_version":' + b"[" * depth + b"]" * depth + b"}").message
        said.add("not a JSON document" in message)
    assert said == {True, False}, "the depths lie on both sides of what the parser takes"


def written(directory: Path, **texts: bytes) -> Path:
    """A directory with a manifest whose digests are those of ``texts``."""
    texts = {"ruleset": b"table inet tng { }\n", "guard": b"add chain inet tng_guard out\n", **texts}
    digests = {f"{name}_sha256": hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    (directory / "manifest.json").write_bytes(encoded({**WHOLE, **digests}))
    for name, text in texts.items():
        (directory / f"{name}.nft").write_bytes(text)
    return directory


@pytest.mark.parametrize("name", ["ruleset.nft", "guard.nft"])
def test_rules_of_another_manifest_are_refused(tmp_path: Path, name: str) -> None:
    load_bundle(written(tmp_path))
    (tmp_path / name).write_text("# of another\n")
    with pytest.raises(HostError, match=f"{name}: its SHA-256 is .* the manifest belongs to") as caught:
        load_bundle(tmp_path)
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("name", ["ruleset", "guard"])
def test_rules_that_are_no_text_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostError, match="not UTF-8") as caught:
        load_bundle(written(tmp_path, **{name: b"# \xff\n"}))
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("missing", ["manifest.json", "ruleset.nft", "guard.nft"])
def test_a_missing_document_is_named(tmp_path: Path, missing: str) -> None:
    (written(tmp_path) / missing).unlink()
    with pytest.raises(HostError, match=missing) as caught:
        load_bundle(tmp_path)
    assert caught.value.exit_code == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=300)
@given(path=st.sampled_from(["/x", *members(WHOLE)]), value=JSON)
def test_any_json_in_any_place_gives_a_manifest_or_one_kind_of_error(path: str, value: object) -> None:
    only_host_errors(lambda: parse_manifest(encoded(changed(path, value))))


@settings(max_examples=200)
@given(data=st.binary(max_size=200) | JSON.map(encoded))
def test_any_bytes_give_one_kind_of_error(data: bytes) -> None:
    only_host_errors(lambda: parse_manifest(data))


def only_host_errors(parse: Callable[[], Manifest]) -> None:
    with contextlib.suppress(HostError):
        assert isinstance(parse(), Manifest)


def test_the_way_back_is_that_of_the_table_and_there_where_it_is_needed() -> None:
    document = json.loads(encoded(WHOLE))
    document["entries"][0] |= {"pointer": "/add_egress/0", "role": "egress", "client_address": "original"}
    assert "/way_back" in refused(encoded(document)).message
    document["way_back"] = {"mark": 12288, "routing_table": 29799, "priority": 116}
    assert parse_manifest(encoded(document)).way_back is not None
    document["way_back"]["mark"] = 565
    assert "/way_back" in refused(encoded(document)).message


def test_an_ingress_that_captures_alone_takes_what_is_forwarded() -> None:
    document = json.loads(encoded(WHOLE))
    document["entries"][0]["takes_forwarded"] = True
    (entry, *_) = parse_manifest(encoded(document)).entries
    assert entry.listens_everywhere
    document["entries"][0] |= {"pointer": "/add_egress/0", "role": "egress"}
    assert "/entries/0/takes_forwarded" in refused(encoded(document)).message


RULE = {"in_host": "127.0.0.1", "in_port": 10001, "in_port_end": 10005, "out_host": "db.example", "out_port": 20001}


def mapped(**changes: object) -> bytes:
    """A manifest with one entry, which maps ports; ``changes`` in its rule."""
    document = json.loads(encoded(WHOLE))
    document["entries"][0] |= {"listen_port": 0, "families": [], "mapping": [{**RULE, **changes}]}
    return encoded(document)


def test_an_entry_that_maps_ports_captures_nothing() -> None:
    (entry,) = parse_manifest(mapped()).entries
    assert (entry.listen_port, entry.families, entry.mapping[0].out_host) == (0, (), "db.example")
    document = json.loads(mapped())
    document["entries"][0] |= {"listen_port": 15001, "families": ["ipv4"]}
    refused(encoded(document))
    refused(encoded(changed("/entries/0/listen_port", 0)))
    refused(encoded(changed("/entries/0/mapping", [RULE])))


@pytest.mark.parametrize(
    "changes",
    [
        {"in_host": "localhost"},
        {"in_host": "::0001"},
        {"in_host": "fe80::1%eth0"},
        {"in_port_end": 10000},
        {"out_port": 65533},
        {"out_host": "a b"},
        {"out_host": ""},
        {"more": 1},
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    refused(mapped(**changes))


PROXY = {"host": "127.0.0.1", "port": 1080, "username": "app", "password": "secret"}


def proxied(**changes: object) -> bytes:
    """A manifest with one entry, which is a proxy."""
    document = json.loads(encoded(WHOLE))
    document["entries"][0] |= {"listen_port": 0, "families": [], "socks5": {**PROXY, **changes}}
    return encoded(document)


def test_the_password_of_a_proxy_is_read_and_not_shown() -> None:
    (entry,) = parse_manifest(proxied()).entries
    assert entry.socks5 is not None
    assert entry.socks5.password == "secret"
    assert "secret" not in repr(entry)
    assert parse_manifest(proxied(username=None, password=None)).entries[0].is_door


@pytest.mark.parametrize(
    "changes", [{"password": None}, {"username": ""}, {"host": "localhost"}, {"port": 0}, {"x": 1}]
)
def test_a_proxy_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    refused(proxied(**changes))


FILTER = {"domain": None, "domain_regex": None, "network": None, "port": 1, "port_end": 65535}


def by_http(filters: object, **changes: object) -> bytes:
    """A manifest with one entry, which is an HTTP proxy with these filters."""
    document = json.loads(encoded(WHOLE))
    proxy = {"host": "127.0.0.1", "port": 41000, "filters": filters, "unmatched": "refuse", **changes}
    document["entries"][0] |= {"listen_port": 0, "families": [], "http_proxy": proxy}
    return encoded(document)


def test_filters_of_a_proxy() -> None:
    (entry,) = parse_manifest(by_http([{**FILTER, "domain": "*.example.com"}, {**FILTER, "network": "::/0"}])).entries
    assert entry.is_door
    assert entry.http_proxy is not None
    assert [each.domain for each in entry.http_proxy.filters] == ["*.example.com", None]


@pytest.mark.parametrize(
    "filters",
    [
        [],
        [{**FILTER, "domain": "Example.com"}],
        [{**FILTER, "domain_regex": "("}],
        [{**FILTER, "network": "10.0.0.1/8"}],
        [{**FILTER, "domain": "a", "network": "10.0.0.0/8"}],
        [{**FILTER, "port": 2, "port_end": 1}],
        [{"domain": "a"}],
    ],
)
def test_filters_that_make_no_sense_are_refused(filters: object) -> None:
    refused(by_http(filters))


def test_a_proxy_is_alone_and_on_an_ingress() -> None:
    document = json.loads(by_http([FILTER]))
    both = {**document["entries"][0], "socks5": PROXY}
    for entry in (both, {**document["entries"][0], "role": "egress"}):
        refused(encoded({**document, "entries": [entry]}))
    refused(by_http([FILTER], unmatched="tunnel"))
