"""What the control process gets: whole snapshots of any size, and a list from every worker that answers in time."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio
import pytest

from tng_runtime import messages
from tng_runtime.messages import Connections, ConnectionsWanted, Message, Snapshot
from tng_runtime.serve import answers as module
from tng_runtime.serve.answers import PART, Answers

pytestmark = pytest.mark.anyio


@dataclass
class Child:
    """Keeps what it is sent, as it would be read at the other end."""

    number: int
    got: list[Message] = field(default_factory=list)

    def send(self, message: Message, *descriptors: int) -> None:
        """Keep it."""
        assert not descriptors
        self.got += messages.Reader().feed(messages.encode(message))


@pytest.mark.parametrize("size", [2, PART - 1, PART, PART + 1, 5 * PART])
async def test_a_snapshot_arrives_whole_in_parts_that_a_message_can_have(size: int) -> None:
    made, control = Answers(list), Child(1)
    made.snapshot = lambda: b"x" * size
    made.give_snapshot(control, 7)
    parts = [part for part in control.got if isinstance(part, Snapshot)]
    assert b"".join(part.data for part in parts) == b"x" * size
    assert [part.more for part in parts] == [1] * (len(parts) - 1) + [0]
    assert {part.ticket for part in parts} == {7}


async def test_the_lists_of_all_workers_are_passed_on_once_each_and_end() -> None:
    workers = [Child(1), Child(2)]
    made, control = Answers(lambda: workers), Child(9)
    made.list(control, 5)
    (asked,) = workers[0].got
    assert isinstance(asked, ConnectionsWanted)
    made.listed(1, Connections(asked.ticket, 0, 3, b"[]"))
    made.listed(1, Connections(asked.ticket, 0, 3, b"[again]"))
    made.listed(4, Connections(asked.ticket, 0, 3, b"[a stranger]"))
    assert control.got == [Connections(5, 1, 3, b"[]")]
    made.listed(2, Connections(asked.ticket, 0, 0, b"[]"))
    assert control.got == [Connections(5, 1, 3, b"[]"), Connections(5, 1, 0, b"[]"), Connections(5, 0, 0, b"")]
    made.listed(2, Connections(asked.ticket, 0, 0, b"[late]"))
    assert len(control.got) == 3


async def test_a_worker_that_stands_still_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIST_SECONDS", 0.05)
    made, control = Answers(lambda: [Child(1)]), Child(9)
    made.list(control, 5)
    with anyio.fail_after(20):
        while not control.got:  # noqa: ASYNC110 - a timer of the loop
            await anyio.sleep(0.01)
    assert control.got == [Connections(5, 0, 0, b"")]


async def test_nobody_makes_the_workers_list_without_end() -> None:
    made, control, worker = Answers(lambda: [Child(1)]), Child(9), Child(1)
    for ticket in range(100):
        made.list(control, ticket)
    assert len(made._lists) == module.MOST_LISTS
    assert len(control.got) == 100 - module.MOST_LISTS
    assert not worker.got
    for listing in made._lists.values():
        assert listing.timer is not None
        listing.timer.cancel()
    empty = Child(3)
    Answers(list).list(empty, 1)
    assert empty.got == [Connections(1, 0, 0, b"")]
