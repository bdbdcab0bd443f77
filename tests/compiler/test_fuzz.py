"""Any bytes have an outcome: diagnostics with places inside the text, or a plan. Never an exception."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compiler.documents import ATTEST, EXAMPLES, VERIFY
from tng_compiler.diagnostics import render_github, render_json, render_sarif, render_text
from tng_compiler.pipeline import Outcome, compile_bytes
from tng_compiler.source.text import decode

SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
NAMES = [
    *("add_ingress", "add_egress", "netfilter", "capture_dst", "host", "ipset", "port", "port_end", "ipv6", "so_mark"),
    *("capture_cgroup", "nocapture_cgroup", "listen_port", "capture_local_traffic", "no_ra", "attest", "verify"),
    *("model", "as_addr", "as_headers", "policy_ids", "trusted_certs_paths", "skip_as_token_cert_verify", "issuer"),
    *("max_session_age", "aa_addr", "refresh_interval", "ohttp", "mapping", "metric", "prot", "verfy"),
    *("forwarded", "udp"),
]
WORDS = [
    "10.0.0.0/8", "10.0.0.1/8", "::1", "ff02::1", "2001:db8::/32", "unix:///a", "http://h/", "http://[::1]:1/",
    "https://[", "passport", "capture", "/a/b.slice", "a;b", "x", "", "\ud800", "\x00", "é", "~/x",
]  # fmt: skip
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.floats(allow_nan=True),
    st.sampled_from(WORDS),
    st.text(max_size=5),
)
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=20,
)
seeds = [path.read_bytes() for path in EXAMPLES]


def sound(data: bytes) -> Outcome:
    outcome = compile_bytes("fuzz.json", data)
    shown = decode(data).shown
    for item in outcome.found:
        for excerpt in (item.at, *item.notes):
            span = excerpt.span
            assert 0 <= span.start <= span.end <= len(shown)
            assert span.line == shown.count("\n", 0, span.start) + 1
            assert span.column == span.start - (shown.rfind("\n", 0, span.start) + 1) + 1
    assert (outcome.plan is None) == any(item.is_error for item in outcome.found)
    for render in (render_text.render, render_json.render, render_github.render, render_sarif.render):
        render(outcome.found).encode("utf-8", "backslashreplace")
    return outcome


@SETTINGS
@given(st.binary(max_size=200))
def test_any_bytes_have_an_outcome(data: bytes) -> None:
    sound(data)


@SETTINGS
@given(st.text(alphabet="{}[]:,\"'0123456789.eE+-/*# \n\ttrufalsn\\u\ud800éNaI\ufeff", max_size=60))
def test_any_text_near_json_has_an_outcome(text: str) -> None:
    sound(text.encode("utf-8", "surrogatepass"))


@SETTINGS
@given(documents)
def test_any_json_of_our_names_has_an_outcome(document: Any) -> None:
    sound(json.dumps(document).encode())


@SETTINGS
@given(
    st.sampled_from(("add_ingress", "add_egress")),
    st.dictionaries(st.sampled_from(NAMES), documents, max_size=3),
    st.dictionaries(st.sampled_from(NAMES), documents, max_size=3),
    st.sampled_from(({"no_ra": True}, {"verify": VERIFY}, {"attest": ATTEST}, {})),
)
def test_any_entry_has_an_outcome(side: str, netfilter: dict[str, Any], extra: dict[str, Any], trust: Any) -> None:
    sound(json.dumps({side: [{"netfilter": netfilter, **trust, **extra}]}).encode())


@SETTINGS
@given(st.data())
def test_any_mutation_of_an_example_has_an_outcome(data: st.DataObject) -> None:
    text = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        match data.draw(st.sampled_from(("flip", "cut", "insert", "copy"))):
            case "flip":
                text[at] ^= 1 << data.draw(st.integers(0, 7))
            case "cut":
                del text[at : at + data.draw(st.integers(1, 10))]
            case "insert":
                text[at:at] = data.draw(st.sampled_from((b",", b'"', b"}", b"]", b"{", b"//", b"'", b"\\", b"0", b"-")))
            case _:
                text[at:at] = text[max(0, at - 20) : at]
        if not text:
            break
    sound(bytes(text))
