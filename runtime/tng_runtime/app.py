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
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from tng_runtime import log
from tng_runtime.accept import limits
from tng_runtime.accept.limits import Limits
from tng_runtime.errors import HostError
from tng_runtime.kernel import cgroups, instance, ipsets, nftables, trusted
from tng_runtime.kernel.instance import down_command
from tng_runtime.kernel.listeners import warn as warn_of_listeners
from tng_runtime.kernel.rules import Rules
from tng_runtime.kernel.sockets import listeners, missing_listeners, stop_listening
from tng_runtime.manifest import FILES, Bundle, Entry, Manifest, load_bundle
from tng_runtime.serve import cpus, judge, privileges, spawn, worker
from tng_runtime.serve.privileges import Unprivileged
from tng_runtime.serve.spawn import ChildRole, Nursery
from tng_runtime.serve.team import Team, Total
from tng_runtime.tunnel import openssl

# Between looks for an address family that was not there at the start; the rules refuse it until then.
LATE_SECONDS = 1.0

Bound = list[list[socket.socket]]
"""The listeners of each entry, in the order of the manifest."""


@dataclass(frozen=True, slots=True)
class Options:
    """``drain_seconds``: how long open connections go on after a signal, unless a second one ends them at once.

    ``on_exit``: whether the rules stay at the end (``closed``) or go (``open``). ``workers``: how many processes serve,
    None for as many as there are processors to use. ``user``: whom they and the judge become.
    """

    drain_seconds: float = 10.0
    on_exit: Literal["closed", "open"] = "closed"
    workers: int | None = None
    user: str | None = None
    max_connections: int | None = None
    max_handshakes: int | None = None


@dataclass(frozen=True, slots=True)
class _Course:
    """One run: what it was given, what signals ask of it, what goes on beside it, what is closed after that."""

    manifest: Manifest
    options: Options
    stop: anyio.Event
    hurry: anyio.Event
    background: TaskGroup
    resources: ExitStack
    team: Team


def run(directory: Path, options: Options) -> None:
    """Execute the manifest and rules in ``directory`` until SIGINT or SIGTERM; raises ``HostError``."""
    trusted.require(directory, FILES)
    bundle = load_bundle(directory)
    nftables.require_privileges()
    to = privileges.unprivileged(options.user)
    with instance.hold(bundle.manifest.table):
        nursery = spawn.start(partial(_child, bundle.manifest, to, _limits(options)))
        anyio.run(_run, bundle, options, nursery, backend_options={"use_uvloop": True})


def _child(manifest: Manifest, to: Unprivileged, most: Limits, role: ChildRole, sock: socket.socket) -> None:
    if role == "judge":
        judge.run(manifest, to, sock)
    else:
        worker.run(manifest, to, most, sock)


def _limits(options: Options) -> Limits:
    workers = options.workers or cpus.usable()
    return limits.choose(
        options.max_connections, options.max_handshakes, workers, limits.available_memory(), limits.open_files()
    )


async def _run(bundle: Bundle, options: Options, nursery: Nursery) -> None:
    log.hand_over()
    stop, hurry = anyio.Event(), anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, ExitStack() as resources:
        async with anyio.create_task_group() as background:
            team = Team(bundle.manifest, nursery, options.workers or cpus.usable(), background, on_lost=stop.set)
            resources.callback(team.close)
            background.start_soon(_on_signals, signals, stop, hurry)
            await serve(bundle, _Course(bundle.manifest, options, stop, hurry, background, resources, team))
            background.cancel_scope.cancel()


async def serve(bundle: Bundle, course: _Course) -> None:
    """Close, start, serve until ``stop``, drain until ``hurry``, and leave the rules as the options say."""
    manifest, background = course.manifest, course.background
    tables = (manifest.table, manifest.guard_table)
    follower = cgroups.Follower(tables, manifest.cgroups)
    addresses = ipsets.Follower(tables, manifest.ipsets)
    rules = Rules(bundle, lambda table: addresses.commands(table) + follower.closed_commands(table))
    course.resources.callback(rules.close)
    bound: Bound = []
    try:
        try:
            addresses.start()
        finally:
            rules.install()
        background.start_soon(rules.watch)
        background.start_soon(addresses.run, rules.change)
        openssl.require()
        cgroups.require_present(manifest.cgroups)
        background.start_soon(follower.run, rules.change)
        _bind(course, bound)
        await _prove(course)
        if not course.stop.is_set():
            await _relay(course, bound)
        if course.team.lost:
            raise HostError("the process that forks the workers has ended", hint="start it again; its log may say why")
    except Exception as error:
        if course.options.on_exit == "open":
            _open(course, rules, bound)
        raise _with_the_state_of_the_rules(error, manifest.table) from error
    if course.options.on_exit == "open":
        _open(course, rules, bound)
    _say_the_end(course)


async def _relay(course: _Course, bound: Bound) -> None:
    for number, entry in enumerate(course.manifest.entries):
        for sock in bound[number]:
            course.team.listen(number, sock)
        course.background.start_soon(_bind_late, course, number, entry, bound)
    warn_of_listeners(course.manifest.cgroups.services)
    _announce(course)
    await course.stop.wait()
    _listen_no_more(bound)
    log.info("draining", seconds=course.options.drain_seconds)
    async with anyio.create_task_group() as draining:
        draining.start_soon(_hurry, course)
        await course.team.drain(course.options.drain_seconds)
        draining.cancel_scope.cancel()


async def _prove(course: _Course) -> None:
    """Start the children: the first certificate of every entry, and workers that have them."""
    async with anyio.create_task_group() as starting:
        starting.start_soon(_cancel_on, course.stop, starting)
        await course.team.start()
        starting.cancel_scope.cancel()


def _bind(course: _Course, bound: Bound) -> None:
    for entry in course.manifest.entries:
        bound.append(listeners(entry))
        for listener in bound[-1]:
            course.resources.callback(listener.close)


async def _bind_late(course: _Course, number: int, entry: Entry, bound: Bound) -> None:
    """Listen in a family that the host gets after the start, such as IPv6 with its loopback address."""
    here = bound[number]
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


def _listen_no_more(bound: Bound) -> None:
    for listener in (sock for sockets in bound for sock in sockets):
        stop_listening(listener)


def _open(course: _Course, rules: Rules, bound: Bound) -> None:
    # What is captured from here on is refused: a connection that only waits to be accepted would outlive the rules.
    _listen_no_more(bound)
    course.team.close()
    rules.remove()


async def _on_signals(signals: AsyncIterator[signal.Signals], stop: anyio.Event, hurry: anyio.Event) -> None:
    async for number in signals:
        log.info("hurrying" if stop.is_set() else "stopping", signal=number.name)
        if stop.is_set():
            hurry.set()
        stop.set()


async def _hurry(course: _Course) -> None:
    await course.hurry.wait()
    await course.team.drain(0)


async def _cancel_on(event: anyio.Event, group: TaskGroup) -> None:
    await event.wait()
    group.cancel_scope.cancel()


def _announce(course: _Course) -> None:
    manifest = course.manifest
    for entry in manifest.entries:
        log.info("capturing", entry=entry.pointer, listen_port=entry.listen_port, **_trust_words(entry))
    log.info(
        "serving",
        table=manifest.table,
        entries=len(manifest.entries),
        config=manifest.config_sha256[:12],
        workers=len(course.team.workers),
    )
    # sd_notify(3): one datagram, for units of Type=notify.
    if address := os.environ.get("NOTIFY_SOCKET"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"READY=1", "\0" + address[1:] if address.startswith("@") else address)


def _trust_words(entry: Entry) -> dict[str, object]:
    if entry.attest is None and entry.verify is None:
        return {"trust": "no_ra", "warning": "nobody is verified: encryption without attestation"}
    words = {"attests": entry.attest and entry.attest.model, "verifies": entry.verify and entry.verify.model}
    skips = entry.verify is not None and entry.verify.skip_as_token_cert_verify
    return words | ({"warning": "skip_as_token_cert_verify: anybody can sign the tokens"} if skips else {})


def _with_the_state_of_the_rules(error: Exception, table: str) -> Exception:
    # Task groups wrap what their tasks raise.
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, HostError) or not nftables.exists(table):
        return error
    stays = f"the rules are loaded and refuse what they capture until a start succeeds; `{down_command(table)}` opens"
    return HostError(error.message, hint=f"{error.hint}\n  {stays}", exit_code=error.exit_code)


def _say_the_end(course: _Course) -> None:
    words: dict[str, object] = {"rules": "removed"}
    if course.options.on_exit == "closed":
        words = {
            "rules": "closed",
            "meaning": "captured traffic is refused until the next start",
            "opens": down_command(course.manifest.table),
        }
    total = course.team.total()
    log.info("stopped", relayed=total.relayed, **_refusals(total), **words)


def _refusals(total: Total) -> dict[str, object]:
    left: dict[str, object] = {"left": total.left} if total.left else {}
    return left | {f"refused.{code}": number for code, number in sorted(total.refused.items())}
