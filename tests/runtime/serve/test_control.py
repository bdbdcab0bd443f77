"""The life of whoever answers how the instance stands: as long as somebody asks, and a while longer."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import anyio
import pytest

from tng_runtime import log
from tng_runtime.messages import Message, Ready, Serve, Snapshot, SnapshotWanted
from tng_runtime.serve import channel, control


@pytest.mark.anyio
async def test_it_ends_when_nobody_has_asked_for_a_while_and_not_in_the_middle_of_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_LOST_SECONDS", 0.01)
    monkeypatch.setattr(log, "hand_over", lambda: None)
    asked, ended = anyio.Event(), anyio.Event()
    tickets: list[int] = []
    here, there = channel.pair()
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as asking:
        listener.bind(str(tmp_path / "status.sock"))
        listener.listen()
        asking.connect(str(tmp_path / "status.sock"))
        asking.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")

        def told(message: Message, _: tuple[int, ...]) -> None:
            match message:
                case Ready():
                    supervisor.send(Serve(1), listener.fileno())
                case SnapshotWanted(ticket):
                    tickets.append(ticket)
                    asked.set()

        supervisor = channel.Channel(here, told, lambda _: None)

        async def run() -> None:
            await control._run(there)
            ended.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            with anyio.fail_after(60):
                await asked.wait()
                monkeypatch.setattr(control, "IDLE_SECONDS", 1e-6)
                await anyio.sleep(0.1)
                assert not ended.is_set()
                supervisor.send(Snapshot(tickets[0], 0, json.dumps({"pending": []}).encode()))
                answer = await anyio.to_thread.run_sync(asking.recv, 4096)
                assert answer.startswith(b"HTTP/1.1 200")
                await ended.wait()
        supervisor.close()
        there.close()
