"""The supervisor's side of its children: start them, put others in the place of those that die, and let them end."""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.manifest import Manifest
from tng_runtime.messages import (
    AgentAway,
    AgentGiven,
    AgentWanted,
    Attach,
    Connections,
    ConnectionsWanted,
    Drain,
    Ended,
    Failed,
    Hide,
    JudgeTally,
    Listen,
    Lost,
    Message,
    NotSpawned,
    Pause,
    Paused,
    Ping,
    Pong,
    Ready,
    Serve,
    SnapshotWanted,
    Spawn,
    Spawned,
    Tally,
    UseJudge,
)
from tng_runtime.serve import channel
from tng_runtime.serve.answers import Answers
from tng_runtime.serve.channel import Channel, close_all
from tng_runtime.serve.judge import connect_agent
from tng_runtime.serve.spawn import ChildRole, Nursery
from tng_runtime.serve.tally import SenselessError, Sums
from tng_runtime.tunnel.handshake import VERDICT_SECONDS

# Before another takes the place of one that lived for less than a second, and of one that could not be forked.
PAUSE_SECONDS = 0.3
LONGEST_PAUSE_SECONDS = 10.0
# After its time to drain a worker has this long to end by itself.
GRACE_SECONDS = 5.0
# After the last connection was accepted, nobody asks the judge for anything any more (``tunnel.handshake``).
JUDGE_SECONDS = 2 * VERDICT_SECONDS


@dataclass(eq=False, slots=True)
class Child:
    """A judge, control or worker; ``pid`` 0 until the nursery tells it."""

    number: int
    role: ChildRole
    born: float = field(default_factory=time.monotonic)
    channel: Channel | None = None
    pid: int = 0
    pidfd: int = -1
    code: int | None = None
    reason: str | None = None
    failed: HostError | None = None
    dismissed: bool = False
    ready: anyio.Event = field(default_factory=anyio.Event)
    paused: anyio.Event = field(default_factory=anyio.Event)
    settled: anyio.Event = field(default_factory=anyio.Event)
    ended: anyio.Event = field(default_factory=anyio.Event)
    answered: anyio.Event | None = None
    """Of the last ``Ping``."""

    def send(self, message: Message, *descriptors: int) -> None:
        """Send it if it lives."""
        if self.channel is not None:
            self.channel.send(message, *descriptors)

    def kill(self) -> None:
        """SIGKILL, to this child and to no later process of its number."""
        if self.pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)


class Team:
    """One judge and ``size`` workers for ``manifest``; ``tasks`` keeps them."""

    def __init__(
        self, manifest: Manifest, nursery: Nursery, size: int, tasks: TaskGroup, on_lost: Callable[[], None]
    ) -> None:
        self._manifest, self._size, self._tasks, self._on_lost = manifest, size, tasks, on_lost
        self._nursery_pid = nursery.pid
        self._nursery = Channel(nursery.sock, self._from_nursery, self._nursery_is_gone)
        self._children: dict[int, Child] = {}
        self.sums = Sums(len(manifest.entries))
        self._last = 0
        self._judge: Child | None = None
        self._control: Child | None = None
        self._shown: list[tuple[bool, socket.socket]] = []
        self._asked = select.epoll()
        self.answers = Answers(lambda: self.serving)
        self._listeners: list[tuple[int, socket.socket]] = []
        self._stopping = self._paused = False
        self._judge_needed = True
        self.lost = False

    @property
    def workers(self) -> list[Child]:
        """Those that live, or are about to."""
        return [child for child in self._children.values() if child.role == "worker"]

    @property
    def serving(self) -> list[Child]:
        """The workers that have certificates and accept."""
        return [worker for worker in self.workers if worker.ready.is_set()]

    @property
    def judge(self) -> Child | None:
        """The judge, once it is ready."""
        return self._judge

    async def start(self) -> None:
        """Return when the judge has certificates and all workers have them; raises ``HostError``."""
        await self._started("judge")
        for _ in range(self._size):
            self._tasks.start_soon(self._keep, await self._started("worker"))
        assert self._judge is not None
        self._tasks.start_soon(self._keep, self._judge)

    def show(self, sockets: Sequence[tuple[bool, socket.socket]]) -> None:
        """Answer on these listening sockets how the instance stands, in a process of its own; private ones are True.

        That process takes 14 MiB, so it lives only while somebody asks now and then.
        """
        self._shown.extend(sockets)
        for _, sock in sockets:
            self._asked.register(sock, select.EPOLLIN)
        self._tasks.start_soon(self._answer)

    async def _answer(self) -> None:
        pause = PAUSE_SECONDS
        with self._asked:
            while not self.lost:
                await anyio.wait_readable(self._asked.fileno())
                try:
                    child = await self._started("control")
                except HostError as error:
                    log.error(
                        "control_not_started", reason=error.message, advice=error.hint, next_attempt_seconds=pause
                    )
                    await anyio.sleep(pause)
                    pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                    continue
                await child.ended.wait()
                pause = PAUSE_SECONDS
                if child.code != 0 and not child.dismissed:
                    log.error("control_died", pid=child.pid, reason=_end_of(child))
                    await anyio.sleep(PAUSE_SECONDS)

    def hide(self) -> None:
        """Let another instance answer on what is not private."""
        for private, sock in self._shown:
            if not private:
                self._asked.unregister(sock)
        self._shown = [(private, sock) for private, sock in self._shown if private]
        if self._control is not None:
            self._control.send(Hide())

    def listen(self, entry: int, sock: socket.socket) -> None:
        """Let all workers accept on ``sock``, those of later too."""
        self._listeners.append((entry, sock))
        for worker in self.workers:
            if worker.ready.is_set():
                worker.send(Listen(entry), sock.fileno())

    async def pause(self) -> None:
        """Return when no worker accepts. One that stands still is ended: it might accept when it goes on."""
        self._paused = True
        asked = self.workers
        for worker in asked:
            worker.paused = anyio.Event()
            worker.send(Pause())
        with anyio.move_on_after(GRACE_SECONDS):
            for worker in asked:
                await worker.paused.wait()
        for worker in asked:
            if not worker.paused.is_set():
                log.error("worker_killed", pid=worker.pid, reason="it stood still while another instance took over")
                worker.dismissed = True
                worker.kill()
                await worker.ended.wait()

    def resume(self) -> None:
        """Let all workers accept again."""
        self._paused = False
        for worker in self.workers:
            if worker.ready.is_set():
                self._serve(worker)

    async def silent(self, seconds: float) -> list[str]:
        """Ask judge and workers whether they do their work; who did not answer after ``seconds``, or is not there."""
        asked = [each for each in self._children.values() if each.role in ("judge", "worker") and each.ready.is_set()]
        for child in asked:
            # One question at a time: who stands still for a day has not a day's questions to answer.
            if child.answered is None or child.answered.is_set():
                child.answered = anyio.Event()
                child.send(Ping())
        with anyio.move_on_after(seconds):
            for child in asked:
                if child.answered is not None:
                    await child.answered.wait()
        missing = {"judge", "worker"} - {child.role for child in asked}
        late = [f"{each.role} {each.pid}" for each in asked if each.answered and not each.answered.is_set()]
        return sorted(missing) + late

    async def drain(self, seconds: float | None) -> None:
        """Let the workers accept no more and end; return when the last one did. Again, to shorten the time."""
        if not self._stopping:
            self._tasks.start_soon(self._dismiss_judge)
        self._stopping = True
        milliseconds = None if seconds is None else math.ceil(seconds * 1000)
        for worker in self.workers:
            worker.send(Drain(milliseconds))
        with anyio.move_on_after(None if seconds is None else seconds + GRACE_SECONDS):
            for worker in self.workers:
                await worker.ended.wait()
        for worker in self.workers:
            log.error("worker_killed", pid=worker.pid, reason="it did not end in its time to drain")
            worker.dismissed = True
            worker.kill()
            await worker.ended.wait()

    def close(self) -> None:
        """End all children at once, and the nursery with them; when this returns they relay nothing."""
        self._stopping, self._judge_needed = True, False
        self._end_all()
        if self._nursery.closed:
            return
        self._nursery.close()
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(self._nursery_pid, signal.SIGKILL)
            os.waitpid(self._nursery_pid, 0)

    async def _started(self, role: ChildRole) -> Child:
        """A new child that is ready; raises ``HostError``."""
        child = self._spawn(role)
        if role == "worker":
            self._introduce(child)
        await child.settled.wait()
        if child.failed is not None:
            raise child.failed
        if not child.ready.is_set():
            hint = "the lines above this one say why"
            if child.code is None:
                hint = "look at memory, and at the limits of processes: pids.max of its cgroups, kernel.threads-max"
            raise HostError(f"the {role} did not start: {_end_of(child)}", hint=hint)
        self._serve(child)
        return child

    def _serve(self, child: Child) -> None:
        """Let a child that is ready do its work."""
        if child.role == "judge":
            self._judge = child
            for worker in self.workers:
                self._introduce(worker)
        elif child.role == "control":
            self._control = child
            for private, sock in self._shown:
                child.send(Serve(int(private)), sock.fileno())
        else:
            for entry, sock in self._listeners if not self._paused else []:
                child.send(Listen(entry), sock.fileno())

    async def _keep(self, child: Child) -> None:
        """Put another in the place of a child whenever it dies."""
        while True:
            await child.ended.wait()
            if child.code != 0 and not child.dismissed:
                log.error(f"{child.role}_died", pid=child.pid, reason=_end_of(child))
            if not self._needed(child.role):
                return
            # One that dies as soon as it is born does not do so in a tight loop.
            await anyio.sleep(0 if time.monotonic() - child.born > 1 else PAUSE_SECONDS)
            if (replacement := await self._replaced(child.role)) is None:
                return
            child = replacement

    async def _replaced(self, role: ChildRole) -> Child | None:
        """Another child that is ready; None when none is needed any more."""
        pause = PAUSE_SECONDS
        while self._needed(role):
            try:
                child = await self._started(role)
            except HostError as error:
                if not self._needed(role):
                    break
                log.error(f"{role}_not_replaced", reason=error.message, advice=error.hint, next_attempt_seconds=pause)
                await anyio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            else:
                log.info(f"{role}_replaced", pid=child.pid)
                return child
        return None

    def _needed(self, role: ChildRole) -> bool:
        return not self._stopping or (role == "judge" and self._judge_needed)

    async def _dismiss_judge(self) -> None:
        """While connections that take days go on it would get certificates that nobody shows."""
        await anyio.sleep(JUDGE_SECONDS)
        self._judge_needed = False
        for child in self._children.values():
            if child.role == "judge":
                log.info("judge_dismissed", meaning="all open connections have their verdict")
                child.dismissed = True
                child.kill()

    def _spawn(self, role: ChildRole) -> Child:
        self._last += 1
        child = Child(self._last, role)
        ours, theirs = channel.pair()
        child.channel = Channel(
            ours,
            lambda message, descriptors: self._from_child(child, message, descriptors),
            lambda why: self._channel_ended(child, why),
        )
        self._children[child.number] = child
        with theirs:
            self._nursery.send(Spawn(child.number, role), theirs.fileno())
        return child

    def _introduce(self, worker: Child) -> None:
        """Give a worker a channel to the judge."""
        if self._judge is not None:
            ours, theirs = channel.pair()
            with ours, theirs:
                self._judge.send(Attach(), ours.fileno())
                worker.send(UseJudge(), theirs.fileno())

    def _from_child(self, child: Child, message: Message, descriptors: tuple[int, ...]) -> None:
        match message:
            case Ready():
                child.ready.set()
                child.settled.set()
            case Failed(said, hint, code):
                child.failed = HostError(said, hint=hint, exit_code=code)
            case Paused():
                child.paused.set()
            case Pong() if child.answered is not None:
                child.answered.set()
            case Tally() | JudgeTally() | Lost():
                self._count(child, message)
            case SnapshotWanted(ticket) if child.role == "control":
                self.answers.give_snapshot(child, ticket)
            case ConnectionsWanted(ticket) if child.role == "control":
                self.answers.list(child, ticket)
            case Connections() if child.role == "worker":
                self.answers.listed(child.number, message)
            case AgentWanted(ticket, entry) if child.role == "judge":
                self._give_agent(child, ticket, entry)
            case _:
                close_all(descriptors)
                self._channel_ended(child, f"a senseless {type(message).__name__}")

    def _count(self, child: Child, told: Tally | JudgeTally | Lost) -> None:
        try:
            match told:
                case Tally() if child.role == "worker":
                    self.sums.told(child.number, told)
                case JudgeTally() if child.role == "judge":
                    self.sums.judged(child.number, told)
                case Lost():
                    self.sums.lost(child.number, told.lines)
                case _:
                    raise SenselessError
        except SenselessError:
            self._channel_ended(child, f"a senseless {type(told).__name__}")

    def _give_agent(self, judge: Child, ticket: int, entry: int) -> None:
        # By the number of an entry: a judge that was taken over has no say about paths.
        attest = self._manifest.entries[entry].attest if 0 <= entry < len(self._manifest.entries) else None
        if attest is None:
            self._channel_ended(judge, f"asked for the agent of entry {entry}, which has none")
            return
        try:
            with connect_agent(attest.aa_path) as sock:
                judge.send(AgentGiven(ticket), sock.fileno())
        except OSError as error:
            judge.send(AgentAway(ticket, error.errno or 0))

    def _channel_ended(self, child: Child, why: str | None) -> None:
        if why is not None:
            log.error(f"{child.role}_misbehaved", pid=child.pid, detail=why)
            child.kill()

    def _from_nursery(self, message: Message, descriptors: tuple[int, ...]) -> None:
        match message:
            case Spawned(number, pid) if number in self._children:
                self._children[number].pid, self._children[number].pidfd = pid, descriptors[0]
            case NotSpawned(number, reason) if number in self._children:
                self._children[number].reason = reason
                self._bury(self._children[number])
            case Ended(number, code) if number in self._children:
                self._children[number].code = code
                self._bury(self._children[number])
            case _:
                close_all(descriptors)

    def _bury(self, child: Child) -> None:
        del self._children[child.number]
        if child.channel is not None:
            child.channel.drain_input()
            child.channel.close()
        if child.pidfd >= 0:
            os.close(child.pidfd)
            child.pidfd = -1
        self.sums.bury(child.number)
        if child is self._judge:
            self._judge = None
        if child is self._control:
            self._control = None
        child.settled.set()
        child.paused.set()
        child.ended.set()
        if child.answered is not None:
            child.answered.set()

    def _nursery_is_gone(self, _: str | None) -> None:
        # Its children go with it.
        self._stopping = self.lost = True
        self._judge_needed = False
        self._end_all()
        self._on_lost()

    def _end_all(self) -> None:
        """Kill all children, and wait until the kernel has closed their sockets."""
        poll = select.poll()
        waiting = [child.pidfd for child in self._children.values() if child.pidfd >= 0]
        for child in self._children.values():
            child.dismissed = True
            child.kill()
        for pidfd in waiting:
            poll.register(pidfd, select.POLLIN)
        while waiting:
            for pidfd, _ in poll.poll():
                poll.unregister(pidfd)
                waiting.remove(pidfd)
        for child in list(self._children.values()):
            child.code = -signal.SIGKILL
            self._bury(child)


def _end_of(child: Child) -> str:
    if child.code is None:
        return f"it could not be forked: {child.reason}"
    if child.code < 0:
        return f"signal {signal.Signals(-child.code).name}"
    return f"exit status {child.code}"
