"""What the user said, as values; and every combination of trust fields judged as the Rust TNG's parser does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.documents import ATTEST, VERIFY, egress, ingress
from tng_compiler.diagnostics.codes import Code
from tng_compiler.diagnostics.diagnostic import Severity
from tng_compiler.model.build import Model, build
from tng_compiler.model.types import Attest, CaptureDst, CgroupPath, Entry, Network, PortRange, Service, Verify
from tng_compiler.shape.check import check

PORT = {"capture_dst": {"port": 8080}}
SKIP = {"skip_as_token_cert_verify": True}
PASSPORT = {"model": "passport", "policy_ids": ["default"]}


def model(document: object) -> Model:
    return build(check(document))


def entry(document: object) -> Entry:
    config = model(document).config
    assert config is not None
    (only,) = config.entries
    return only


def errors(document: object) -> list[Code]:
    return [fault.code for fault in model(document).faults if fault.severity is Severity.ERROR]


def test_defaults_are_applied() -> None:
    netfilter = entry(ingress(PORT)).netfilter
    assert netfilter.so_mark == 565
    assert netfilter.listen_port is None
    assert netfilter.ipv6 == "capture"
    assert (netfilter.forwarded, netfilter.udp) == ("reject", "reject")
    assert netfilter.capture_local_traffic is False
    assert netfilter.capture_cgroup == netfilter.nocapture_cgroup == ()


def test_what_passes_by_is_left_alone_only_where_the_document_says_so() -> None:
    netfilter = entry(ingress({**PORT, "forwarded": "bypass"})).netfilter
    assert (netfilter.forwarded, netfilter.udp) == ("bypass", "reject")
    netfilter = entry(egress({**PORT, "udp": "bypass"})).netfilter
    assert (netfilter.forwarded, netfilter.udp) == ("reject", "bypass")


def test_one_destination_and_a_list_of_one_mean_the_same() -> None:
    one, listed = entry(ingress(PORT)), entry(ingress({"capture_dst": [{"port": 8080}]}))
    assert one.netfilter.capture_dst == (
        CaptureDst("/add_ingress/0/netfilter/capture_dst", None, None, PortRange(8080, 8080)),
    )
    assert listed.netfilter.capture_dst == (
        CaptureDst("/add_ingress/0/netfilter/capture_dst/0", None, None, PortRange(8080, 8080)),
    )


def test_an_empty_list_is_kept_apart_from_an_absent_one() -> None:
    assert entry(ingress({"capture_dst": []})).netfilter.capture_dst == ()
    assert entry(ingress({"capture_cgroup": ["a"]})).netfilter.capture_dst is None


def test_hosts_sets_and_ranges_are_parsed() -> None:
    items = [{"host": "2001:db8::/32", "port": 1, "port_end": 9}, {"ipset": "partners"}]
    first, second = entry(ingress({"capture_dst": items})).netfilter.capture_dst or ()
    assert (first.network, first.ports) == (Network.of("2001:db8::/32"), PortRange(1, 9))
    assert (second.ipset, second.network, second.ports) == ("partners", None, None)


@pytest.mark.parametrize("value", ["//a.slice///b\\x2d1.service/", ["a.slice/b\\x2d1.service"]])
def test_cgroups_are_normalized_and_given_their_level(value: object) -> None:
    (path,) = entry(egress({**PORT, "capture_cgroup": value})).netfilter.capture_cgroup
    assert (path.path, path.level) == ("a.slice/b\\x2d1.service", 2)
    assert isinstance(path, CgroupPath)


def test_attest_and_verify_are_built_on_either_side() -> None:
    for document in (ingress(PORT, attest=ATTEST, verify=VERIFY), egress(PORT, attest=ATTEST, verify=VERIFY)):
        both = entry(document)
        assert both.attest == Attest("background_check", "/run/aa.sock", 600, None, ())
        assert both.verify == Verify(
            "background_check", Service("http://127.0.0.1:8081/", ()), ("default",), (), False, None, None
        )


def test_passport_is_built_on_either_side() -> None:
    attest = {**ATTEST, **PASSPORT, "as_addr": "https://as.example/", "as_headers": {"A": "b"}, "refresh_interval": 0}
    verify = {**PASSPORT, "trusted_certs_paths": ["/ca.pem"], "issuer": "me", "max_session_age": 60}
    both = entry(egress(PORT, attest=attest, verify=verify))
    assert both.attest == Attest(
        "passport", "/run/aa.sock", 0, Service("https://as.example/", (("A", "b"),)), ("default",)
    )
    assert both.verify == Verify("passport", None, ("default",), ("/ca.pem",), False, "me", 60)


def test_entries_keep_the_order_of_the_document_ingress_first() -> None:
    document: dict[str, Any] = {**egress(PORT), **ingress(PORT)}
    document["add_ingress"] *= 2
    config = model(document).config
    assert config is not None
    assert [one.pointer for one in config.entries] == ["/add_ingress/0", "/add_ingress/1", "/add_egress/0"]


@pytest.mark.parametrize(
    ("trust", "expected"),
    [
        ({"no_ra": True}, []),
        ({"no_ra": True, "verify": None}, []),
        ({"no_ra": False, "verify": VERIFY}, []),
        ({"no_ra": True, "verify": VERIFY}, [Code.TRUST_CONFLICT]),
        ({"no_ra": True, "attest": ATTEST}, [Code.TRUST_CONFLICT]),
        ({"no_ra": False}, [Code.TRUST_MISSING]),
        ({"verify": None}, [Code.TRUST_MISSING]),
        ({"verify": {"policy_ids": ["a"]}}, [Code.SERVICE_REQUIRED]),
        ({"verify": {**VERIFY, "policy_ids": []}}, [Code.EMPTY_POLICY_IDS]),
        ({"verify": PASSPORT}, [Code.NO_TRUST_ANCHOR]),
        ({"verify": {**PASSPORT, "as_addr": "https://h/"}}, []),
        ({"verify": {**PASSPORT, "trusted_certs_paths": ["/a"]}}, []),
        ({"verify": {**PASSPORT, **SKIP}}, []),
        ({"verify": {**PASSPORT, "trusted_certs_paths": []}}, [Code.NO_TRUST_ANCHOR]),
        (
            {"verify": {**PASSPORT, "as_addr": "https://h/", **SKIP}},
            [Code.SKIP_WITH_SERVICE],
        ),
        ({"verify": {**VERIFY, **SKIP}}, []),
        (
            {"verify": {**VERIFY, "trusted_certs_paths": ["/a"], **SKIP}},
            [Code.SKIP_WITH_PIN],
        ),
        (
            {"verify": {**PASSPORT, "trusted_certs_paths": ["/"], "as_headers": {"a": ""}}},
            [Code.HEADERS_WITHOUT_SERVICE],
        ),
        ({"attest": {**ATTEST, "model": "passport"}}, [Code.SERVICE_REQUIRED]),
        ({"attest": {**ATTEST, "model": "passport", "as_addr": "https://h/"}}, []),
        ({"attest": {**ATTEST, "as_addr": "https://h/"}}, [Code.FIELD_OF_OTHER_MODEL]),
        ({"attest": {**ATTEST, "aa_type": "uds", "aa_provider": "coco", "refresh_interval": None}}, []),
        ({"attest": {"aa_addr": "unix://x"}}, [Code.BAD_AA_ADDR]),
        ({"attest": {"aa_addr": "unix:///"}}, [Code.BAD_AA_ADDR]),
    ],
)
@pytest.mark.parametrize("side", [ingress, egress])
def test_trust_is_judged(side: Any, trust: dict[str, object], expected: list[Code]) -> None:
    document = side(PORT, **trust)
    assert errors(document) == expected
    assert (model(document).config is None) == bool(expected)


@pytest.mark.parametrize(
    "address",
    ["http://", "http:///x", "http://h:0/", "http://h:x/", "http://[::1", "http://h h/", "http://é/", "h", "", "http://a@h/",
     "http://h/?", "http://h/#x", "http://h\\", "http://-h/", "unix:///x", "HTTP//h", "http://h\n/"],
)  # fmt: skip
def test_urls_that_nothing_can_be_appended_to_are_refused(address: str) -> None:
    assert errors(ingress(PORT, verify={**VERIFY, "as_addr": address})) == [Code.BAD_AS_ADDR]


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1", "http://[::1]:8081/as", "https://as.example:8443/", "HTTPS://h/"]
)
def test_urls_of_services_are_accepted(address: str) -> None:
    assert errors(ingress(PORT, verify={**VERIFY, "as_addr": address})) == []


@pytest.mark.parametrize(
    ("address", "pin", "warned"),
    [
        ("http://as.example/", [], True),
        ("http://192.0.2.1/", [], True),
        ("http://as.example/", ["/ca.pem"], False),
        ("http://127.1.2.3/", [], False),
        ("http://[::1]/", [], False),
        ("http://localhost:1/", [], False),
        ("http://localhost.example/", [], True),
        ("https://as.example/", [], False),
    ],
)
def test_plain_http_is_warned_about_off_loopback(address: str, pin: list[str], warned: bool) -> None:
    verify = {"as_addr": address, "policy_ids": ["default"], "trusted_certs_paths": pin}
    faults = model(ingress(PORT, verify=verify)).faults
    assert [fault.code for fault in faults] == [Code.PLAIN_HTTP_SERVICE] * warned


def test_an_entry_with_a_faulty_filter_is_not_handed_on_wider() -> None:
    """A destination that lost its host would capture more than its author wrote: later stages must not see it."""
    for item in ({"host": "x", "port": 1}, {"host": 5, "port": 1}, {"hots": "10.0.0.1", "port": 1}):
        assert model(ingress({"capture_dst": [item]})).partial.entries == ()


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "host": st.sampled_from(("10.0.0.0/8", "10.0.0.1", "10.0.0.1/8", "127.0.0.1", "::1", "2001:db8::/32", "x")),
            "ipset": st.sampled_from(("a", "a b")),
            "port": st.sampled_from((1, 80, 65535, None)),
            "port_end": st.sampled_from((1, 80, 65535, None)),
        },
    )
)
def test_the_fast_way_to_a_destination_leads_where_the_slow_one_does(item: dict[str, object]) -> None:
    """A field that is null is absent, and forces the slow way."""
    nulled = {"host": None, "ipset": None, "port": None, "port_end": None, **item}
    fast, slow = model(ingress({"capture_dst": [item]})), model(ingress({"capture_dst": [nulled]}))
    assert fast.config == slow.config
    assert [fault.code for fault in fast.faults] == [fault.code for fault in slow.faults]


def test_every_fault_is_reported_in_one_run() -> None:
    document = ingress(
        {"capture_dst": [{"host": "10/8"}, {"port_end": 1}, {}], "capture_cgroup": "a b"},
        verify={"as_addr": "x", "policy_ids": []},
        no_ra=True,
    )
    assert set(errors(document)) == {
        Code.TRUST_CONFLICT, Code.EMPTY_POLICY_IDS, Code.BAD_AS_ADDR, Code.BAD_CGROUP_PATH, Code.BAD_HOST,
        Code.PORT_END_ALONE, Code.EMPTY_DESTINATION,
    }  # fmt: skip


def test_one_stream_a_connection_may_be_said() -> None:
    said: dict[str, Any] = {"rats_tls": {"multiplex": False}}
    assert entry(ingress(PORT, verify=VERIFY, **said)) == entry(ingress(PORT, verify=VERIFY))
    assert errors(ingress(PORT, verify=VERIFY, rats_tls={"multiplex": True})) == [Code.NOT_SUPPORTED_YET]
