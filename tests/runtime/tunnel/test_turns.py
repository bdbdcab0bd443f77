"""Sources take turns, whoever of them has the longest queue; nothing is kept of those that are gone."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused
from tng_runtime.tunnel.turns import Turns, network_of

pytestmark = pytest.mark.anyio

LOUD, QUIET, THIRD = "10.0.0.1", "10.0.0.2", "10.0.0.3"


class Desk:
    """Who was served, in which order; everybody stays until ``done``."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.served: list[str] = []
        self.refused: list[str] = []
        self.done: list[anyio.Event] = []

    async def come(self, source: str) -> None:
        try:
            async with self.turns.turn(source):
                self.served.append(source)
                self.done.append(anyio.Event())
                await self.done[-1].wait()
        except Refused as refused:
            self.refused.append(f"{source} {refused.code}")

    async def end(self, place: int) -> None:
        self.done[place].set()
        await settle()

    async def all_end(self) -> None:
        while pending := [event for event in self.done if not event.is_set()]:
            for event in pending:
                event.set()
            await settle()
        assert not self.turns._sources
        assert (self.turns._served, self.turns._waiting) == (0, 0)


async def settle() -> None:
    for _ in range(10):
        await anyio.lowlevel.checkpoint()


async def test_no_source_has_more_than_half_and_sources_take_turns() -> None:
    desk = Desk(Turns(4, Code.SERVICE_BUSY))
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(desk.come, LOUD)
        await settle()
        assert desk.served == [LOUD] * 2, "the other half is for others"
        for source in (QUIET, QUIET, THIRD):
            group.start_soon(desk.come, source)
        await settle()
        assert desk.served == [LOUD, LOUD, QUIET, QUIET]
        await desk.end(0)
        assert desk.served[4:] == [LOUD], "it waits longest, and its half has room"
        await desk.end(1)
        assert desk.served[5:] == [THIRD]
        await desk.end(2)
        assert desk.served[6:] == [LOUD]
        await desk.all_end()
    assert desk.served.count(LOUD) == 20


async def test_the_queue_of_a_source_is_bounded_and_loses_its_newest() -> None:
    desk = Desk(Turns(2, Code.SERVICE_BUSY, max_of_source=3))
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(desk.come, LOUD)
        await settle()
        assert (len(desk.served), len(desk.refused)) == (1, 6)
        group.start_soon(desk.come, QUIET)
        await settle()
        assert desk.served == [LOUD, QUIET]
        await desk.all_end()


async def test_all_queues_together_are_bounded_and_the_longest_gives_way() -> None:
    desk = Desk(Turns(2, Code.SERVICE_BUSY, max_waiting=5))
    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(desk.come, LOUD)
        await settle()
        for _ in range(3):
            group.start_soon(desk.come, QUIET)
        await settle()
        assert desk.served == [LOUD, QUIET]
        assert desk.refused == [f"{LOUD} {Code.SERVICE_BUSY}"] * 2
        await desk.all_end()
    assert desk.served.count(QUIET) == 3


async def test_who_gives_up_leaves_no_trace() -> None:
    """While it waits, and when its turn and its end come together."""
    desk = Desk(Turns(1, Code.SERVICE_BUSY))
    async with anyio.create_task_group() as group:
        group.start_soon(desk.come, LOUD)
        await settle()
        with anyio.CancelScope() as first, anyio.CancelScope() as second:
            async with anyio.create_task_group() as impatient:
                impatient.start_soon(desk.come, QUIET)
                await settle()
                second.cancel()
        assert desk.turns._waiting == 0
        with anyio.CancelScope() as first:
            async with anyio.create_task_group() as impatient:
                impatient.start_soon(desk.come, QUIET)
                await settle()
                desk.done[0].set()
                await anyio.lowlevel.checkpoint()
                first.cancel()
        await desk.all_end()


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("[2001:db8:1:2:3::4]", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("[::ffff:10.0.0.1]", "10.0.0.1"),
        ("", ""),
        ("unix", "unix"),
    ],
)
async def test_an_ipv6_host_has_64_bits_of_addresses(host: str, network: str) -> None:
    assert network_of(host) == network
