"""The kernel's events, from real transactions of real programs; what is foreign, and what it is called."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import anyio
import pytest

from tng_demo.lab import Lab
from tng_runtime.kernel import netlink, nftables, watch
from tng_runtime.kernel.owned import OwnedTable
from tng_runtime.kernel.watch import Reader

pytestmark = pytest.mark.netns

RULES = """table inet tng
delete table inet tng
table inet tng {
  counter seen { }
  set peers { type ipv4_addr; }
  chain one { ip daddr @peers drop; }
  chain two { tcp dport { 80, 443 } counter name seen; jump one; }
}
"""


@pytest.fixture(autouse=True)
def _inside(hosts: Lab) -> Iterator[None]:
    with hosts["client"].inside():
        yield


@pytest.fixture
def events() -> Iterator[socket.socket]:
    with netlink.connect(netlink.NETLINK_NETFILTER) as sock:
        sock.setblocking(False)
        sock.setsockopt(netlink.SOL_NETLINK, netlink.NETLINK_ADD_MEMBERSHIP, 7)
        yield sock


def told(sock: socket.socket) -> list[netlink.Message]:
    found: list[netlink.Message] = []
    while True:
        try:
            found += netlink.messages(sock.recv(1 << 18))
        except BlockingIOError:
            return found


@pytest.mark.parametrize(
    ("commands", "says"),
    [
        ("flush ruleset", ["table tng removed"]),
        ("delete chain inet tng two", ["chain two removed"]),
        ("flush chain inet tng one", ["rule of chain one removed"]),
        ("add rule inet tng one accept", ["rule of chain one added"]),
        ("add chain inet tng three", ["chain three added"]),
        ("add element inet tng peers { 192.0.2.1 }", ["elements of set peers added"]),
        ("add set inet tng more { type ipv4_addr; }", ["set more added"]),
        ("add counter inet tng more", ["object more added"]),
        ("add table inet tng { flags dormant; }", ["table tng added"]),
        ("add table inet tng_other; add chain inet tng_other one", []),
        ("add table ip tng; add chain ip tng one", []),
        ("list ruleset", []),
        ("reset counters", []),
    ],
)
def test_what_another_program_does_to_the_table_is_told_by_name(
    hosts: Lab, events: socket.socket, commands: str, says: list[str]
) -> None:
    nftables.load(RULES, "tng")
    told(events)
    reader = Reader("tng", -1)
    hosts["client"].run("nft", "-f", "-", stdin=commands)
    found = list(reader.read(told(events)))
    changes = [text for each in found for text in each.changes]
    if commands.startswith("delete chain"):
        assert changes[-1:] == says
        assert "rule of chain two removed" in changes
    else:
        assert changes == says
    assert [each.by.partition("[")[0] for each in found] == ["nft"] * bool(says)


def test_own_transactions_are_no_news(hosts: Lab, events: socket.socket) -> None:
    own = OwnedTable("tng_guard")
    nftables.load(RULES, "tng", context=own.context)
    own.replace("add chain inet tng_guard one\n")
    nftables.change("add element inet tng peers { 192.0.2.1 }", own.context)
    seen = told(events)
    assert seen
    assert list(Reader("tng", own.port).read(seen)) == []
    assert list(Reader("tng", own.port + 1).read(seen)) != []
    own.close()


def test_events_may_be_cut_between_any_two_messages(hosts: Lab, events: socket.socket) -> None:
    nftables.load(RULES, "tng")
    told(events)
    hosts["client"].run("nft", "flush", "chain", "inet", "tng", "two")
    reader = Reader("tng", -1)
    assert [each for one in told(events) for each in reader.read([one])] != []


def test_differences_are_named_by_chain_with_their_rules(hosts: Lab) -> None:
    nftables.load(RULES, "tng")
    before = nftables.listing("tng", terse=True) or ""
    assert watch.differences(before, before) == []
    nftables.change("add element inet tng peers { 192.0.2.1 }")
    assert watch.differences(before, nftables.listing("tng", terse=True)) == [], "elements and figures do not count"
    hosts["client"].run(
        "nft", "-f", "-", stdin="flush chain inet tng two; delete chain inet tng one; add chain inet tng x"
    )
    assert watch.differences(before, nftables.listing("tng", terse=True)) == [
        "chain one removed",
        "chain x added",
        "chain two: 'tcp dport { 80, 443 } counter name \"seen\"' removed",
        "chain two: 'jump one' removed",
    ]


@pytest.mark.parametrize("data", [b"", b"\0" * 40, b"\xff" * 40, bytes(range(256))])
def test_bytes_that_are_no_messages_are_passed_over(data: bytes) -> None:
    assert list(Reader("tng", -1).read(netlink.messages(data))) == []
    netlink.attributes(data)


def many(elements: int) -> str:
    """The rules with a set of so many addresses."""
    addresses = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(elements))
    return RULES.replace(
        "set peers { type ipv4_addr; }", f"set peers {{ type ipv4_addr; elements = {{ {addresses} }}; }}"
    )


@pytest.mark.anyio
async def test_an_own_load_that_is_more_than_the_kernel_tells_is_loaded_once(
    hosts: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was taken for a change of others, and loaded again for ever; theirs are still undone."""
    monkeypatch.setattr(watch, "_BUFFER_BYTES", 4096)
    own, restored = OwnedTable("tng_guard"), anyio.Event()
    loads: list[int] = []

    def load() -> None:
        nftables.load(many(10_000), "tng", context=own.context)
        loads.append(len(loads))

    def restore() -> None:
        load()
        restored.set()

    watched = watch.Watch("tng", own.port, restore)
    load()
    assert watch._LOST in list(watched._news()), "the buffer is too small for this test otherwise"
    load()
    watched.loaded()
    async with anyio.create_task_group() as group:
        group.start_soon(watched.run)
        await anyio.wait_all_tasks_blocked()
        assert len(loads) == 2
        hosts["client"].run("nft", "flush", "chain", "inet", "tng", "two")
        with anyio.fail_after(60):
            await restored.wait()
        await anyio.wait_all_tasks_blocked()
        assert len(loads) == 3
        group.cancel_scope.cancel()
    watched.close()
    own.close()


@pytest.mark.anyio
async def test_what_others_did_before_the_rules_were_remembered_is_undone(hosts: Lab) -> None:
    own, restored = OwnedTable("tng_guard"), anyio.Event()
    watched = watch.Watch("tng", own.port, restored.set)
    nftables.load(RULES, "tng", context=own.context)
    hosts["client"].run("nft", "flush", "chain", "inet", "tng", "two")
    watched.loaded()
    async with anyio.create_task_group() as group:
        group.start_soon(watched.run)
        with anyio.fail_after(60):
            await restored.wait()
        group.cancel_scope.cancel()
    watched.close()
    own.close()
