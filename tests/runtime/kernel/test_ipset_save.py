"""What is in an ipset: the texts of ``ipset save``, and the meaning of a set against the kernel's own answers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tng_demo.lab import Lab
from tng_runtime.errors import HostError
from tng_runtime.kernel import ipset_save
from tng_runtime.kernel.ipset_save import Part, Saved, covered, parse, written

NET = "create peers hash:net family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1\n"
NET6 = "create peers hash:net family inet6 hashsize 1024 maxelem 65536\n"


def shown(saved: Saved) -> list[str]:
    """The intervals in the words of nft."""
    return [written(saved.family, interval) for interval in saved.intervals]


@pytest.mark.parametrize(
    ("elements", "held"),
    [
        ([], []),
        (["10.0.0.1"], ["10.0.0.1"]),
        (["10.0.0.0/8", "192.0.2.1"], ["10.0.0.0-10.255.255.255", "192.0.2.1"]),
        (["10.0.0.3-10.0.0.9"], ["10.0.0.3-10.0.0.9"]),
        (["10.0.0.0/24", "10.0.1.0/24", "10.0.0.7"], ["10.0.0.0-10.0.1.255"]),
        (["0.0.0.0/1", "128.0.0.0/1"], ["0.0.0.0-255.255.255.255"]),
        (["10.0.0.1 timeout 17", '10.0.0.3 timeout 0 packets 0 bytes 0 comment "x y"'], ["10.0.0.1", "10.0.0.3"]),
        (["10.0.0.0/30 timeout 0", "10.0.0.1 timeout 0 nomatch packets 0 bytes 0"], ["10.0.0.0", "10.0.0.2-10.0.0.3"]),
        (["10.0.0.0/24 nomatch"], []),
        (["10.0.0.0/29 nomatch", "10.0.0.1", "10.0.0.0/28"], ["10.0.0.1", "10.0.0.8-10.0.0.15"]),
        (['10.0.0.1 comment "nomatch"'], ["10.0.0.1"]),
        (['10.0.0.1 comment "a\nadd peers 10.9.9.9 nomatch\n"', "10.0.0.2 skbmark 0x1"], ["10.0.0.1-10.0.0.2"]),
    ],
)
def test_elements_are_the_addresses_that_match(elements: list[str], held: list[str]) -> None:
    assert shown(parse("peers", NET + "".join(f"add peers {element}\n" for element in elements))) == held


def test_ipv6_is_its_own_family() -> None:
    saved = parse("peers", f"{NET6}add peers 2001:db8::/32\nadd peers ::1\nadd peers 2001:db8:1::/48 nomatch\n")
    assert saved.family == "ipv6"
    assert shown(saved) == [
        "::1", "2001:db8::-2001:db8:0:ffff:ffff:ffff:ffff:ffff", "2001:db8:2::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
    ]  # fmt: skip


def test_an_address_of_a_set_with_a_netmask_is_its_network() -> None:
    saved = parse("peers", "create peers hash:ip family inet netmask 24\nadd peers 10.2.3.0\n")
    assert shown(saved) == ["10.2.3.0-10.2.3.255"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("create peers hash:ip,port family inet\nadd peers 10.0.0.1,tcp:80\n", "type is hash:ip,port"),
        ("create peers list:set size 8\nadd peers others\n", "type is list:set"),
        ("create peers hash:mac hashsize 1024\n", "type is hash:mac"),
        ("create peers hash:ip family inet bitmask 255.255.0.0\nadd peers 10.9.0.0\n", "bitmask"),
        (f"{NET}add peers 10.0.0.1,tcp:80\n", "'10.0.0.1,tcp:80' is not a plain address"),
        (f"{NET}add peers 10.0.0.0/33\n", "10.0.0.0/33"),
        (f"{NET}add peers ::1\n", "'::1'"),
        (f"{NET}del peers 10.0.0.1\n", "del peers"),
        (f"{NET}add peers 10.0.0.1", "add peers"),
        ("", "begins with ''"),
    ],
)
def test_what_is_no_address_is_refused_by_name(text: str, says: str) -> None:
    with pytest.raises(HostError, match="the ipset peers cannot be followed") as caught:
        parse("peers", text)
    assert says in caught.value.message
    assert caught.value.exit_code == 3


networks = st.builds(
    lambda first, length: ((first >> (8 - length)) << (8 - length), length), st.integers(0, 255), st.integers(0, 8)
)


@settings(max_examples=300)
@given(st.dictionaries(networks, st.booleans(), max_size=12))
def test_the_smallest_part_that_holds_an_address_decides(elements: dict[tuple[int, int], bool]) -> None:
    parts = [Part(first, first | (1 << 8 - length) - 1, match) for (first, length), match in elements.items()]
    found = covered(parts)
    for address in range(256):
        around = [part for part in parts if part.first <= address <= part.last]
        expected = bool(around) and min(around, key=lambda part: part.last - part.first).match
        assert any(first <= address <= last for first, last in found) == expected
    assert all(before[1] + 1 < after[0] for before, after in itertools.pairwise(found)), "they are apart"


class TestWithTheKernel:
    """Real sets in a namespace of their own."""

    pytestmark = pytest.mark.netns

    @pytest.fixture(autouse=True)
    def _inside(self, hosts: Lab) -> Iterator[None]:
        with hosts["client"].inside():
            yield

    def test_a_set_means_what_the_kernel_says(self, hosts: Lab) -> None:
        """Overlapping networks, some of them exempt: ``ipset test`` is asked for addresses at every edge."""
        client, chosen = hosts["client"], random.Random(7)
        client.run("ipset", "create", "peers", "hash:net", "comment")
        made = {
            ip_network((f"10.0.0.{chosen.randrange(256)}", chosen.randint(25, 32)), strict=False): chosen.random() < 0.4
            for _ in range(40)
        }
        lines = [f'add peers {net} comment "nomatch"{" nomatch" if exempt else ""}\n' for net, exempt in made.items()]
        client.run("ipset", "restore", stdin="".join(lines))
        saved = ipset_save.read("peers")
        assert saved
        edges = {int(net[end]) + step for net in made for end in (0, -1) for step in (-1, 0, 1)}
        for address in map(IPv4Address, edges):
            inside = client.run("ipset", "test", "peers", str(address), check=False).returncode == 0
            ours = any(first <= int(address) <= last for first, last in saved.intervals)
            assert ours == inside, address

    def test_comments_cannot_add_elements(self, hosts: Lab) -> None:
        hosts["client"].run("ipset", "create", "peers", "hash:ip", "comment")
        hosts["client"].run("ipset", "add", "peers", "10.0.0.1", "comment", "a\nadd peers 10.9.9.9\nadd x")
        saved = ipset_save.read("peers")
        assert saved
        assert shown(saved) == ["10.0.0.1"]

    def test_there_may_be_none(self) -> None:
        assert ipset_save.read("peers") is None

    def test_without_the_program_the_reason_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ipset_save, "PROGRAMS", ())
        with pytest.raises(HostError, match="no program `ipset`"):
            ipset_save.read("peers")
