"""The tasks of a worker's connections and their drain, in the test's own loop."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from tng_runtime.serve.connections import Connections

pytestmark = pytest.mark.anyio

SECONDS = 20


async def until(event: anyio.Event) -> None:
    await event.wait()


async def test_a_drain_without_an_end_waits_for_the_last() -> None:
    connections, first, last = Connections(), anyio.Event(), anyio.Event()
    connections.add(until(first))
    connections.add(until(last))
    connections.drain(None)
    waiting = asyncio.create_task(connections.ended())
    first.set()
    await anyio.wait_all_tasks_blocked()
    assert not waiting.done()
    last.set()
    with anyio.fail_after(SECONDS):
        await waiting


async def test_the_earlier_end_counts() -> None:
    """As when a second signal says to hurry; a later end does not prolong the first."""
    connections, broken = Connections(), anyio.Event()

    async def serve() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            broken.set()

    connections.add(serve())
    await anyio.wait_all_tasks_blocked()
    connections.drain(3600)
    connections.drain(0)
    connections.drain(None)
    connections.drain(7200)
    with anyio.fail_after(SECONDS):
        await connections.ended()
    assert broken.is_set()


async def test_without_connections_a_drain_is_over_at_once() -> None:
    connections = Connections()
    connections.drain(3600)
    with anyio.fail_after(SECONDS):
        await connections.ended()


async def test_a_bug_in_one_is_told_and_the_others_go_on() -> None:
    connections, end, told = Connections(), anyio.Event(), anyio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: told.set())

    async def fail() -> None:
        raise ValueError("a bug")

    connections.add(until(end))
    connections.add(fail())
    with anyio.fail_after(SECONDS):
        await told.wait()
    end.set()
    connections.drain(None)
    with anyio.fail_after(SECONDS):
        await connections.ended()


async def test_the_end_of_each_is_told_also_of_one_that_was_broken_off() -> None:
    told: list[None] = []
    connections = Connections(lambda: told.append(None))
    done, never = anyio.Event(), anyio.Event()
    connections.add(until(done))
    done.set()
    await anyio.wait_all_tasks_blocked()
    assert len(told) == 1
    connections.add(until(never))
    connections.drain(0)
    with anyio.fail_after(SECONDS):
        await connections.ended()
    assert len(told) == 2
