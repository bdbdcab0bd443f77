"""The runtime from a directory to its end. Read this first: ``serve`` is one call a stage.

This process, the supervisor, owns the instance: its lock, its rules, its listeners. What strangers send is read by its
children (``serve``). Order is safety here. The rules are there before anything is asked of anybody, and refuse what
they capture until there are listeners, certificates and workers; a start that fails leaves them. At the end connections
end first, and the rules stay and refuse, unless the operator asked for them to go: then they go when no worker relays
any more. The listeners are bound as long as the process lives, or until the rules have gone, so that nobody else can
have their ports.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from tng_runtime import log
from tng_runtime.accept import limits
from tng_runtime.accept.limits import Limits
from tng_runtime.errors import HostError
from tng_runtime.events import Access
from tng_runtime.kernel import cgroups, manager, memory, nftables, probe, record, reused, trusted
from tng_runtime.kernel.instance import Lock, TakenError, down_command
from tng_runtime.kernel.listeners import warn as warn_of_listeners
from tng_runtime.kernel.places import require_shared
from tng_runtime.kernel.plain import PlainUpkeep, is_plain, without_marks
from tng_runtime.kernel.probe import Probe, ProbeFailedError
from tng_runtime.kernel.sockets import listeners, missing_listeners, set_mark, stop_listening
from tng_runtime.kernel.upkeep import Upkeep
from tng_runtime.manifest import FILES, Bundle, Entry, Manifest, load_bundle
from tng_runtime.messages import TakeOver
from tng_runtime.serve import cpus, heartbeat, judge, privileges, progress, spawn, syscalls, takeover, worker
from tng_runtime.serve.captures import captures
from tng_runtime.serve.entry_words import entry_words, totals
from tng_runtime.serve.hangup import Hangups
from tng_runtime.serve.privileges import Unprivileged
from tng_runtime.serve.spawn import ChildRole, Nursery
from tng_runtime.serve.standing import Stand, private_socket, public_socket
from tng_runtime.serve.takeover import Inheritance, Predecessor, Successors
from tng_runtime.serve.team import Team
from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.rehearsal import rehearse

# Between looks for an address family that was not there at the start; the rules refuse it until then.
LATE_SECONDS = 1.0

_NEVER_KILLS = {signal.SIGHUP}
DRAIN_SECONDS = 10.0
RETRY_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Options:
    """``drain_seconds``: how long open connections go on after a signal, unless a second one ends them at once.

    None: 10 after a signal, without end for those of an instance that this one takes over.
    ``on_exit``: whether the rules stay at the end (``closed``) or go (``open``). ``workers``: how many processes serve,
    None for as many as there are processors to use. ``user``: whom they and the judge become.
    ``record``: the directory that the record of the document gets when it serves. ``probes``: what is tried once the
    rules are there. ``again``: the command line of whoever takes over after SIGHUP.
    """

    drain_seconds: float | None = None
    on_exit: Literal["closed", "open"] = "closed"
    workers: int | None = None
    user: str | None = None
    max_connections: int | None = None
    max_handshakes: int | None = None
    record: Path | None = None
    access: Access = field(default_factory=Access)
    probes: Sequence[Probe | None] = ()
    again: Sequence[str] = ()


@dataclass(slots=True)
class _Course:
    """One run: what it was given, what signals ask of it, what goes on beside it, what is closed after that.

    ``old`` is the instance that it takes over, until it has; ``heir`` is who has taken over from it.
    """

    bundle: Bundle
    options: Options
    lock: Lock
    background: TaskGroup
    resources: ExitStack
    team: Team
    stop: anyio.Event
    hurry: anyio.Event
    upkeep: Upkeep
    old: Predecessor | None
    stand: Stand
    hangups: Hangups
    heir: TakeOver | None = None
    public: socket.socket | None = None
    """Where the control interface answers over TCP, if the document says so."""
    was_open: bool = False
    """Nobody had rules of this table here before us."""
    bound: list[list[socket.socket]] = field(default_factory=list)
    """The listeners of each entry, in the order of the manifest."""
    changed: list[socket.socket] = field(default_factory=list)
    """Inherited listeners that belonged to an entry of other terms, or to one that is gone."""
    gone: list[socket.socket] = field(default_factory=list)
    """Inherited listeners at which nobody is to accept any more; the old instance has them open until it ends."""

    @property
    def manifest(self) -> Manifest:
        """Of the bundle."""
        return self.bundle.manifest

    def by_entry(self) -> Iterator[tuple[Entry, socket.socket]]:
        """The listeners, each with its entry."""
        for entry, sockets in zip(self.manifest.entries, self.bound, strict=True):
            yield from ((entry, sock) for sock in sockets)

    def listeners(self) -> list[socket.socket]:
        """Those of all entries."""
        return [sock for sockets in self.bound for sock in sockets]


def run(directory: Path, options: Options) -> None:
    """Execute the manifest and rules in ``directory`` until SIGINT or SIGTERM, or until another run takes over.

    A run of the same table that is there already is taken over. SIGHUP waits before and after that. Raises
    ``HostError``.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _NEVER_KILLS)
    memory.keep_large_apart()
    trusted.require(directory, FILES)
    bundle = load_bundle(directory)
    alone = is_plain(bundle)
    if alone:
        bundle = without_marks(bundle)
    else:
        nftables.require_privileges()
        require_shared()
    to = privileges.unprivileged(options.user, marks=not alone)
    with ExitStack() as ending, Lock(bundle.manifest.table) as lock:
        ending.callback(record.discard, options.record)
        old = _lock_or_holder(lock)
        lock.keep(directory)
        rehearse()
        if (reason := syscalls.available(borrows=bundle.manifest.way_back is not None)) is not None:
            log.info("no_syscall_filter", reason=reason, advice="install libseccomp (Debian: libseccomp2)")
        nursery = spawn.start(partial(_child, bundle.manifest, to, _limits(options), options.access))
        anyio.run(_run, bundle, options, lock, nursery, old, backend_options={"use_uvloop": True})


def _lock_or_holder(lock: Lock) -> socket.socket | None:
    """Take the lock, or return a connection to the instance that holds it and hands over."""
    try:
        lock.acquire()
    except TakenError:
        if (old := takeover.connect(lock.socket_path)) is None:
            raise
        return old
    return None


def _child(
    manifest: Manifest, to: Unprivileged, most: Limits, access: Access, role: ChildRole, sock: socket.socket
) -> None:
    if role == "judge":
        judge.run(manifest, to, sock)
    elif role == "control":
        from tng_runtime.serve import control

        control.run(to, sock)
    else:
        worker.run(manifest, to, most, access, sock)


def _limits(options: Options) -> Limits:
    workers = options.workers or cpus.usable()
    return limits.choose(
        options.max_connections, options.max_handshakes, workers, limits.available_memory(), limits.open_files()
    )


async def _run(bundle: Bundle, options: Options, lock: Lock, nursery: Nursery, old: socket.socket | None) -> None:
    log.hand_over()
    stop, hurry = anyio.Event(), anyio.Event()
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as signals, ExitStack() as resources:
        async with anyio.create_task_group() as background:
            workers = options.workers or cpus.usable()
            team = Team(bundle.manifest, nursery, workers, background, on_lost=stop.set)
            predecessor = Predecessor(old) if old else None
            upkeep = _upkeep(bundle)
            stand = Stand(
                bundle.manifest,
                team,
                workers,
                lambda: course.upkeep,
                lambda: course.bound,
                captures(bundle.ruleset),
            )
            course = _Course(
                bundle,
                options,
                lock,
                background,
                resources,
                team,
                stop,
                hurry,
                upkeep,
                predecessor,
                stand,
                Hangups(options.again),
            )
            team.answers.snapshot = stand.document
            resources.callback(lambda: course.upkeep.close())
            resources.callback(team.close)
            if predecessor:
                resources.callback(predecessor.close)
            background.start_soon(_on_signals, signals, course)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _NEVER_KILLS)
            try:
                await serve(course)
            finally:
                # Whoever listens to signals is about to go, and the kernel's answer to this one is death.
                signal.pthread_sigmask(signal.SIG_BLOCK, _NEVER_KILLS)
            background.cancel_scope.cancel()


def _upkeep(bundle: Bundle) -> Upkeep:
    return PlainUpkeep() if is_plain(bundle) else Upkeep(bundle)


async def serve(course: _Course) -> None:
    """Close, start, serve until ``stop``, drain until ``hurry``, and leave the rules as the options say."""
    manifest = course.manifest
    try:
        if course.old is None:
            course.was_open = is_plain(course.bundle) or not nftables.exists(manifest.table)
            course.upkeep.install()
            reused.forget({entry.listen_port for entry in manifest.entries if not entry.is_door})
            course.background.start_soon(course.upkeep.run)
            course.team.show(_standing(course))
        openssl.require()
        cgroups.require_present(manifest.cgroups)
        inherited = await course.old.inherit(course.options.drain_seconds) if course.old else []
        _bind(course, inherited)
        course.stand.pending = "the workers are being started"
        await _prove(course)
        if not course.stop.is_set():
            if course.old is None:
                await probe.run(course.options.probes)
                _let_accept(course)
            else:
                await _take_over(course, course.old)
            await _relay(course)
        if course.team.lost:
            raise HostError("the process that forks the workers has ended", hint="start it again; its log may say why")
    except Exception as error:
        if course.old is not None:
            raise _with_who_goes_on(error) from error
        if course.options.on_exit == "open" or (course.was_open and isinstance(_only(error), ProbeFailedError)):
            _open(course)
        raise _with_the_state_of_the_rules(error, manifest.table) from error
    if course.options.on_exit == "open" and course.heir is None and course.old is None:
        _open(course)
    _say_the_end(course)


async def _take_over(course: _Course, old: Predecessor) -> None:
    course.upkeep.look()
    shown = _standing(course)
    _mark(course)

    def load() -> None:
        course.upkeep.rules.restore()
        reused.turn_away(course.changed)

    course.lock.adopt(await old.replace(load, course.upkeep.rules.own))
    try:
        await probe.run(course.options.probes)
    except Exception:
        course.lock.hand_over()
        raise
    course.old = None
    course.background.start_soon(course.upkeep.run)
    _let_accept(course)
    await old.dismiss()
    for sock in course.gone:
        stop_listening(sock)
        sock.close()
    course.team.show(shown)
    log.info("taken_over", table=course.manifest.table)


async def _relay(course: _Course) -> None:
    for number, entry in enumerate(course.manifest.entries):
        course.background.start_soon(_bind_late, course, number, entry)
    warn_of_listeners(course.manifest.cgroups.services)
    course.background.start_soon(_wait_for_heirs, course)
    course.background.start_soon(course.hangups.run)
    course.stand.pending = None
    course.background.start_soon(course.stand.run)
    _announce(course)
    await course.stop.wait()
    course.stand.stopping = True
    if course.heir is None:
        manager.notify("STOPPING=1")
        _listen_no_more(course)
    seconds = _drain_seconds(course)
    log.info("draining", seconds="without end" if seconds is None else seconds)
    async with anyio.create_task_group() as draining:
        draining.start_soon(_hurry, course)
        draining.start_soon(progress.tell, _drains(course, seconds))
        await course.team.drain(seconds)
        draining.cancel_scope.cancel()


def _drains(course: _Course, seconds: float | None) -> Callable[[], str]:
    end = None if seconds is None else anyio.current_time() + seconds

    def words() -> str:
        number = sum(course.team.sums.total(entry).open for entry in range(len(course.manifest.entries)))
        left = "" if end is None else f", {max(0.0, end - anyio.current_time()):.0f} s left"
        waiting = "1 connection is open" if number == 1 else f"{number} connections are open"
        return f"draining: {waiting}{left}; one more signal ends them at once"

    return words


def _drain_seconds(course: _Course) -> float | None:
    if course.heir is not None:
        return None if course.heir.drain is None else course.heir.drain / 1000
    return DRAIN_SECONDS if course.options.drain_seconds is None else course.options.drain_seconds


def _let_accept(course: _Course) -> None:
    for number, sockets in enumerate(course.bound):
        for sock in sockets:
            course.team.listen(number, sock)


def _standing(course: _Course) -> list[tuple[bool, socket.socket]]:
    """Where this instance is going to answer how it stands; private ones are True. Raises ``HostError``."""
    path, private = private_socket(course.lock.socket_path.parent, course.manifest.table)
    course.resources.callback(path.unlink, missing_ok=True)
    course.resources.callback(private.close)
    shown = [(True, private)]
    if course.manifest.control is not None:
        course.public = course.public or public_socket(course.manifest.control, ())
        course.resources.callback(course.public.close)
        shown.append((False, course.public))
    return shown


async def _wait_for_heirs(course: _Course) -> None:
    """Hand over to whoever asks for it, and end."""

    async def pause() -> None:
        await course.upkeep.stop()
        await course.team.pause()

    def release() -> int:
        course.upkeep.close()
        assert course.lock.descriptor is not None
        return course.lock.descriptor

    async def resume() -> None:
        course.lock.sign()
        _mark(course)
        while True:
            try:
                course.upkeep.close()
                course.upkeep = _upkeep(course.bundle)
                course.upkeep.install()
            except HostError as error:  # whoever failed to take over may not be gone yet
                log.error("rules_not_restored", reason=error.message, advice=error.hint)
                await anyio.sleep(RETRY_SECONDS)
            else:
                break
        # Who has come meanwhile may have been captured by the rules of whoever failed.
        reused.turn_away([sock for entry, sock in course.by_entry() if not entry.is_door])
        course.background.start_soon(course.upkeep.run)
        course.team.resume()

    def inheritance() -> list[Inheritance]:
        found = [(sock, reused.terms(entry)) for entry, sock in course.by_entry()]
        return [*found, *([(course.public, b"")] if course.public else [])]

    successors = Successors(course.lock.socket_path, inheritance, pause, release, resume)
    course.resources.callback(successors.close)
    course.heir = await successors.wait()
    successors.close()
    course.team.hide()
    course.lock.hand_over()
    course.hangups.handed_over()
    log.info("handed_over", table=course.manifest.table, meaning="open connections go on under the rules of their time")
    course.stop.set()


async def _prove(course: _Course) -> None:
    """Start the children: the first certificate of every entry, and workers that have them."""
    async with anyio.create_task_group() as starting:
        starting.start_soon(_cancel_on, course.stop, starting)
        starting.start_soon(progress.tell, lambda: f"starting: {'; '.join(course.stand.waits_for())}")
        await course.team.start()
        starting.cancel_scope.cancel()


def _bind(course: _Course, inheritance: list[Inheritance]) -> None:
    terms = dict(inheritance)
    inherited = list(terms)
    for sock in inherited:
        course.resources.callback(sock.close)
    for entry in course.manifest.entries:
        course.bound.append(listeners(entry, inherited))
        for sock in course.bound[-1]:
            course.resources.callback(sock.close)
            if sock in terms and terms[sock] != reused.terms(entry):
                course.changed.append(sock)
    if course.old is not None and course.manifest.control is not None:
        course.public = public_socket(course.manifest.control, inherited)
    course.gone += [sock for sock in inherited if sock not in course.listeners() and sock is not course.public]
    course.changed += [sock for sock in course.gone if terms[sock]]


async def _bind_late(course: _Course, number: int, entry: Entry) -> None:
    """Listen in a family that the host gets after the start, such as IPv6 with its loopback address."""
    here = course.bound[number]
    while len(here) < len(entry.families):
        await anyio.sleep(LATE_SECONDS)
        if course.stop.is_set():
            return
        try:
            late = missing_listeners(entry, here)
        except HostError as error:
            log.error("cannot_listen", entry=entry.pointer, reason=error.message, advice=error.hint)
            return
        for sock in late:
            course.resources.callback(sock.close)
            here.append(sock)
            course.team.listen(number, sock)
            log.info("listening_late", entry=entry.pointer, address=sock.getsockname()[0])


def _mark(course: _Course) -> None:
    for entry, sock in course.by_entry():
        set_mark(sock, entry.so_mark)


def _listen_no_more(course: _Course) -> None:
    for listener in course.listeners():
        stop_listening(listener)


def _open(course: _Course) -> None:
    # What is captured from here on is refused: a connection that only waits to be accepted would outlive the rules.
    _listen_no_more(course)
    course.team.close()
    course.upkeep.rules.remove()


async def _on_signals(signals: AsyncIterator[signal.Signals], course: _Course) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            # Some managers send one beside SIGTERM (systemd.kill(5), SendSIGHUP).
            if course.heir is not None or not course.stop.is_set():
                course.hangups.ask()
            continue
        log.info("hurrying" if course.stop.is_set() else "stopping", signal=number.name)
        if course.stop.is_set():
            course.hurry.set()
        course.stop.set()


async def _hurry(course: _Course) -> None:
    await course.hurry.wait()
    await course.team.drain(0)


async def _cancel_on(event: anyio.Event, group: TaskGroup) -> None:
    await event.wait()
    group.cancel_scope.cancel()


def _announce(course: _Course) -> None:
    manifest = course.manifest
    record.keep(course.options.record)
    for entry in manifest.entries:
        log.info("listening" if entry.is_door else "capturing", entry=entry.pointer, **entry_words(entry))
    log.info(
        "serving",
        table=manifest.table,
        entries=len(manifest.entries),
        config=manifest.config_sha256[:12],
        workers=len(course.team.workers),
    )
    status = f"serving, {len(manifest.entries)} entries, {len(course.team.workers)} workers"
    manager.notify("READY=1", f"MAINPID={os.getpid()}", f"STATUS={status}")
    if (seconds := manager.watchdog_seconds()) is not None:
        course.background.start_soon(_feed, course, seconds, status)


async def _feed(course: _Course, seconds: float, status: str) -> None:
    """Until this instance ends, or hands over: then another one is the manager's."""
    async with anyio.create_task_group() as feeding:
        feeding.start_soon(_cancel_on, course.stop, feeding)
        await heartbeat.beat(course.team.silent, seconds, status)


def _only(error: Exception) -> Exception:
    # Task groups wrap what their tasks raise.
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _with_the_state_of_the_rules(error: Exception, table: str) -> Exception:
    error = _only(error)
    if not isinstance(error, HostError) or not nftables.permitted() or not nftables.exists(table):
        return error
    stays = f"the rules are loaded and refuse what they capture until a start succeeds; `{down_command(table)}` opens"
    return HostError(error.message, hint=f"{error.hint}\n  {stays}", exit_code=error.exit_code)


def _with_who_goes_on(error: Exception) -> Exception:
    error = _only(error)
    if not isinstance(error, HostError):
        return error
    hint = f"{error.hint}\n  the instance that runs already goes on as before"
    return HostError(error.message, hint=hint, exit_code=error.exit_code)


def _say_the_end(course: _Course) -> None:
    words: dict[str, object] = {"rules": "removed"}
    if course.heir is not None or course.old is not None:
        words = {"rules": "those of the instance that serves"}
    elif is_plain(course.bundle):
        words = {}
    elif course.options.on_exit == "closed":
        words = {
            "rules": "closed",
            "meaning": "captured traffic is refused until the next start",
            "opens": down_command(course.manifest.table),
        }
    log.info("stopped", **totals(course.team.sums, len(course.manifest.entries)), **words)
