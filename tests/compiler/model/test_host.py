"""Addresses: what is accepted means one thing to every program, and agrees with ``ipaddress``."""

from __future__ import annotations

from ipaddress import IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tng_compiler.diagnostics.codes import Code
from tng_compiler.model.host import HostError, parse_host, special
from tng_compiler.model.types import Network


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_ipv4_networks_agree_with_ipaddress(address: object, prefix: int) -> None:
    network = ip_network(f"{address}/{prefix}", strict=False)
    assert parse_host(str(network)) == Network.of(str(network))
    assert parse_host(str(address)) == Network.of(str(address))


@given(st.ip_addresses(v=6), st.integers(0, 128))
def test_ipv6_networks_agree_with_ipaddress(address: object, prefix: int) -> None:
    network = IPv6Network(f"{address}/{prefix}", strict=False)
    if prefix >= 96 and network.network_address.ipv4_mapped is not None:
        with pytest.raises(HostError):
            parse_host(str(network))
    else:
        assert parse_host(str(network)) == Network.of(str(network))


@given(st.text(alphabet="0123456789abcdefg.:/% -+_x", max_size=20))
def test_what_is_accepted_is_what_ipaddress_reads(text: str) -> None:
    try:
        network = parse_host(text)
    except HostError:
        return
    assert network == Network.of(text)


@pytest.mark.parametrize(
    "text",
    [
        "", "10/8", "10.20", "1.2.3", "1.2.3.4.5", "010.0.0.1", "1.2.3.04", "256.0.0.1", "1.2.3.4/33", "1.2.3.4/",
        "1.2.3.0/08", "10.0.0.0/255.0.0.0", " 1.2.3.4", "1.2.3.4\n", "١.2.3.4", "0x7f.1", "2130706433", "::1%lo",
        "::1/129", "::/-1", "::1/064", "::ffff:1.2.3.4", "1::2::3", "localhost", "[::1]", "10.0.0.1-10.0.0.9",
    ],
)  # fmt: skip
def test_oddities_are_refused(text: str) -> None:
    with pytest.raises(HostError) as refused:
        parse_host(text)
    assert refused.value.code is Code.BAD_HOST


@pytest.mark.parametrize(("text", "right"), [("10.1.2.3/8", "10.0.0.0/8"), ("2001:db8::1/32", "2001:db8::/32")])
def test_host_bits_are_refused_with_the_network_that_was_meant(text: str, right: str) -> None:
    with pytest.raises(HostError) as refused:
        parse_host(text)
    assert refused.value.code is Code.HOST_BITS_SET
    assert refused.value.help is not None
    assert right in refused.value.help


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("127.0.0.1", "loopback"), ("127.0.0.0/8", "loopback"), ("126.0.0.0/7", None), ("224.0.0.0/4", "multicast"),
        ("239.255.255.255", "multicast"), ("240.0.0.1", None), ("255.255.255.255", "broadcast"), ("10.0.0.1", None),
        ("0.0.0.0", "unspecified"), ("0.0.0.0/0", None), ("::1", "loopback"), ("::", "unspecified"), ("::/0", None),
        ("::/127", None), ("ff00::/8", "multicast"), ("ff02::1", "multicast"), ("fe80::/10", None),
    ],
)  # fmt: skip
def test_ranges_that_tcp_between_hosts_never_has_are_named(text: str, kind: str | None) -> None:
    assert special(parse_host(text)) == kind
    assert isinstance(parse_host(text), Network)
