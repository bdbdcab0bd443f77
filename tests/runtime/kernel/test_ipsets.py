"""The kernel's ipsets in the sets of two tables: copied when they are loaded, followed, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import anyio
import pytest

from tng_demo.lab import Lab
from tng_runtime.errors import HostError
from tng_runtime.kernel import ipsets, nftables
from tng_runtime.manifest import Ipset

pytestmark = pytest.mark.netns

TABLES = ("tng", "tng_guard")
BOTH = (Ipset("peers", "peers", "ipv4"), Ipset("peers6", "peers", "ipv6"))
LONG = 60.0


def ruleset(table: str) -> str:
    return f"""table inet {table}
delete table inet {table}
table inet {table} {{
\tset peers {{
\t\ttypeof ip daddr
\t\tflags interval
\t\tauto-merge
\t}}
\tset peers6 {{
\t\ttypeof ip6 daddr
\t\tflags interval
\t\tauto-merge
\t}}
}}
"""


class Site:
    """The client of a lab, whose network this thread is in."""

    def __init__(self, hosts: Lab) -> None:
        self.run = hosts["client"].run

    def ipset(self, *argv: str) -> None:
        self.run("ipset", *argv)

    def elements(self, name: str, table: str = "tng") -> list[str]:
        """The elements of a set as nft lists them."""
        listed = self.run("nft", "list", "set", "inet", table, name).stdout
        found = re.search(r"elements = \{(.*)\}\n\t\}", listed, re.DOTALL)
        return [element.strip() for element in found[1].split(",")] if found else []

    def both_hold(self, elements: list[str]) -> bool:
        return all(self.elements("peers", table) == elements for table in TABLES)

    def load(self, follower: ipsets.Follower) -> None:
        follower.start()
        for table in TABLES:
            nftables.load(ruleset(table), table, partial(follower.commands, table))

    async def eventually(self, what: Callable[[], bool]) -> None:
        with anyio.fail_after(LONG):
            while not what():  # noqa: ASYNC110 - the kernel tells nobody of a change in a set
                await anyio.sleep(0.02)


@pytest.fixture
def site(hosts: Lab) -> Iterator[Site]:
    with hosts["client"].inside():
        yield Site(hosts)


def followed(site: Site, follower: ipsets.Follower, then: Callable[[], Awaitable[None]]) -> None:
    """Do ``then`` while the sets are followed."""

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(follower.run)
            await then()
            group.cancel_scope.cancel()

    site.load(follower)
    anyio.run(main)


def test_what_the_kernel_holds_is_in_both_tables_from_the_first_moment(site: Site) -> None:
    site.ipset("create", "peers", "hash:net", "timeout", "0", "comment")
    site.ipset("add", "peers", "10.0.0.0/8", "comment", "all } of, it")
    site.ipset("add", "peers", "10.1.0.0/16", "nomatch")
    site.ipset("add", "peers", "192.0.2.1", "timeout", "6000")
    site.ipset("create", "peers6", "hash:ip", "family", "inet6")
    site.ipset("add", "peers6", "2001:db8::1")
    site.load(ipsets.Follower(TABLES, BOTH))
    for table in TABLES:
        assert site.elements("peers", table) == ["10.0.0.0/16", "10.2.0.0-10.255.255.255", "192.0.2.1"]
        assert site.elements("peers6", table) == ["2001:db8::1"]


def test_two_halves_of_the_internet_are_all_of_it(site: Site) -> None:
    site.ipset("create", "peers", "hash:net")
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        site.ipset("add", "peers", half)
    site.ipset("create", "peers6", "hash:net", "family", "inet6")
    for half in ("::/1", "8000::/1"):
        site.ipset("add", "peers6", half)
    site.load(ipsets.Follower(TABLES, BOTH))
    assert site.elements("peers") == ["0.0.0.0/0"]
    assert site.elements("peers6") == ["::/0"]


def test_changes_are_followed_in_both_tables(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site.ipset("create", "peers", "hash:ip")
    site.ipset("add", "peers", "192.0.2.1")
    follower = ipsets.Follower(TABLES, BOTH)

    async def change() -> None:
        for change, held in (
            (("add", "peers", "192.0.2.3"), ["192.0.2.1", "192.0.2.3"]),
            (("del", "peers", "192.0.2.1"), ["192.0.2.3"]),
            (("flush", "peers"), []),
        ):
            site.ipset(*change)
            await site.eventually(partial(site.both_hold, held))
        site.ipset("create", "peers6", "hash:net", "family", "inet6")
        site.ipset("add", "peers6", "2001:db8::/32")
        await site.eventually(lambda: site.elements("peers6", "tng_guard") == ["2001:db8::/32"])

    followed(site, follower, change)
    assert "event=ipset_changed set=peers intervals=2 before=1" in capfd.readouterr().err


def test_an_element_that_times_out_is_gone(site: Site) -> None:
    site.ipset("create", "peers", "hash:ip", "timeout", "0")
    follower = ipsets.Follower(TABLES, BOTH)

    async def wait() -> None:
        site.ipset("add", "peers", "192.0.2.1", "timeout", "5")
        await site.eventually(lambda: site.elements("peers") == ["192.0.2.1"])
        await site.eventually(lambda: site.elements("peers") == [])

    followed(site, follower, wait)


def test_what_an_ipset_held_that_is_gone_stays_captured(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    site.ipset("create", "peers", "hash:ip")
    site.ipset("add", "peers", "192.0.2.1")
    follower = ipsets.Follower(TABLES, BOTH)
    said = ""

    def says(event: str) -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return event in said

    async def change() -> None:
        site.ipset("destroy", "peers")
        await site.eventually(lambda: says("level=error event=ipset_gone set=peers"))
        assert site.elements("peers") == ["192.0.2.1"]
        site.ipset("create", "peers", "hash:ip,port")
        await site.eventually(lambda: says("level=error event=ipset_not_followed"))
        assert site.elements("peers") == ["192.0.2.1"]
        site.ipset("destroy", "peers")
        site.ipset("create", "peers", "hash:ip")
        site.ipset("add", "peers", "192.0.2.9")
        await site.eventually(lambda: site.elements("peers") == ["192.0.2.9"])

    followed(site, follower, change)
    assert says("event=ipset_back set=peers")


def test_a_change_that_fails_is_tried_again(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    """Somebody removes a table; when it is back, it is filled with the next change."""
    site.ipset("create", "peers", "hash:ip")
    follower = ipsets.Follower(TABLES, BOTH)

    async def change() -> None:
        nftables.remove("tng_guard")
        site.ipset("add", "peers", "192.0.2.1")
        await site.eventually(lambda: "event=ipset_not_followed" in capfd.readouterr().err)
        nftables.load(ruleset("tng_guard"), "tng_guard")
        await site.eventually(lambda: site.elements("peers", "tng_guard") == ["192.0.2.1"])

    followed(site, follower, change)


@pytest.mark.parametrize(
    ("made", "asked", "says"),
    [
        ([], BOTH, "the kernel has no ipset peers for ipv4 or ipv6"),
        (["peers6 hash:ip family inet6"], BOTH[:1], "the kernel has no ipset peers for ipv4"),
        (["peers hash:ip family inet6"], BOTH[:1], "the kernel has no ipset peers for ipv4"),
        (["peers hash:ip,port"], BOTH, "type is hash:ip,port"),
        (["peers list:set"], BOTH, "type is list:set"),
        (["peers hash:ip", "peers6 hash:ip"], BOTH, "peers6 has addresses of IPv4"),
        (["peers hash:ip family inet6", "peers6 hash:ip family inet6"], BOTH, "both have addresses of IPv6"),
    ],
)
def test_a_start_without_what_can_be_followed_is_refused_by_name(
    site: Site, made: list[str], asked: tuple[Ipset, ...], says: str
) -> None:
    for one in made:
        site.ipset("create", *one.split())
    with pytest.raises(HostError) as caught:
        ipsets.Follower(TABLES, asked).start()
    assert says in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("made", [["peers hash:ip"], ["peers6 hash:ip family inet6"], ["peers hash:ip family inet6"]])
def test_one_family_is_enough(site: Site, made: list[str]) -> None:
    for one in made:
        site.ipset("create", *one.split())
        site.ipset("add", one.split()[0], "2001:db8::1" if "inet6" in one else "192.0.2.1")
    site.load(ipsets.Follower(TABLES, BOTH))
    assert site.elements("peers") + site.elements("peers6") == ["2001:db8::1" if "inet6" in made[0] else "192.0.2.1"]


def test_without_ipsets_nothing_is_asked_of_the_host() -> None:
    follower = ipsets.Follower(TABLES, ())
    follower.start()
    assert follower.commands("tng") == ""
    anyio.run(follower.run)
