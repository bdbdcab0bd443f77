"""The runtime from a directory to its end. Read this first: ``serve`` is one call a stage.

Order is safety here. The rules are there before anything is asked of anybody, and refuse what they capture until there
are listeners, certificates and an acceptor; a start that fails leaves them. At the end connections end first, and the
rules stay and refuse, unless the operator asked for them to go. The listeners are bound as long as the process lives,
or until the rules have gone, so that nobody else can have their ports.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import anyio
from anyio.abc import TaskGroup

from tng_runtime import log
from tng_runtime.accept.acceptor import Acceptor, connection_limit
from tng_runtime.errors import HostError
from tng_runtime.kernel import cgroups, instance, ipsets, nftables, trusted
from tng_runtime.kernel.instance import down_command
from tng_runtime.kernel.listeners import warn as warn_of_listeners
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.rules import Rules
from tng_runtime.kernel.sockets import listeners, missing_listeners, stop_listening
from tng_runtime.manifest import FILES, Bundle, Entry, Manifest, Verify, load_bundle
from tng_runtime.relay.link import Relay
from tng_runtime.relay.own import OwnConnections
from tng_runtime.relay.session import Counts, Sessions
from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.handshake import Door
from tng_runtime.tunnel.identity import Identity, attested_identity, throwaway_identity
from tng_runtime.tunnel.verifier import Verifier

# Between looks for an address family that was not there at the start; the rules refuse it until then.
LATE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """``drain_seconds``: how long open connections go on after a signal, unless a second one ends them at once.

    ``on_exit``: whether the rules stay at the end (``closed``) or go (``open``).
    """

    drain_seconds: float = 10.0
    on_exit: Literal["closed", "open"] = "closed"


@dataclass(frozen=True, slots=True)
class _Course:
    """One run: what it was given, what signals ask of it, what goes on beside it, what is closed after that."""

    manifest: Manifest
    options: Options
    stop: anyio.Event
    hurry: anyio.Event
    background: TaskGroup
    resources: ExitStack
    counts: Counts = field(default_factory=Counts)


@dataclass(frozen=True, slots=True)
class _Trust:
    entry: Entry
    identity: Identity
    verifier: Verifier | None


def run(directory: Path, options: Options) -> None:
    """Execute the manifest and rules in ``directory`` until SIGINT or SIGTERM; raises ``HostError``."""
    trusted.require(directory, FILES)
    bundle = load_bundle(directory)
    nftables.require_privileges()
    with instance.hold(bundle.manifest.table):
        anyio.run(_run, bundle, options, backend_options={"use_uvloop": True})


async def _run(bundle: Bundle, options: Options) -> None:
    stop, hurry = anyio.Event(), anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals, ExitStack() as resources:
        async with anyio.create_task_group() as background:
            background.start_soon(_on_signals, signals, stop, hurry)
            await serve(bundle, _Course(bundle.manifest, options, stop, hurry, background, resources))
            background.cancel_scope.cancel()


async def serve(bundle: Bundle, course: _Course) -> None:
    """Close, start, serve until ``stop``, drain until ``hurry``, and leave the rules as the options say."""
    manifest, background = course.manifest, course.background
    tables = (manifest.table, manifest.guard_table)
    follower = cgroups.Follower(tables, manifest.cgroups)
    addresses = ipsets.Follower(tables, manifest.ipsets)
    rules = Rules(bundle, lambda table: addresses.commands(table) + follower.closed_commands(table))
    course.resources.callback(rules.close)
    bound: dict[str, list[socket.socket]] = {}
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
        trusts = await _prove(course)
        if not course.stop.is_set():
            await _relay(course, trusts, bound)
    except Exception as error:
        if course.options.on_exit == "open":
            _open(rules, bound)
        raise _with_the_state_of_the_rules(error, manifest.table) from error
    if course.options.on_exit == "open":
        _open(rules, bound)
    _say_the_end(course)


async def _relay(course: _Course, trusts: list[_Trust], bound: dict[str, list[socket.socket]]) -> None:
    for trust in trusts:
        course.background.start_soon(trust.identity.run)
    poller = Poller()
    course.resources.callback(poller.close)
    async with anyio.create_task_group() as connections:
        acceptor = Acceptor(connection_limit())
        handlers = _handlers(trusts, poller, course.counts, acceptor, connections)
        acceptor.start((sock, handlers[pointer]) for pointer, sockets in bound.items() for sock in sockets)
        for trust in trusts:
            course.background.start_soon(_bind_late, course, trust.entry, bound, acceptor, handlers)
        warn_of_listeners(course.manifest.cgroups.services)
        _announce(course.manifest)
        await course.stop.wait()
        acceptor.close()
        log.info("draining", seconds=course.options.drain_seconds)
        connections.cancel_scope.deadline = anyio.current_time() + course.options.drain_seconds
        course.background.start_soon(_cancel_on, course.hurry, connections)


async def _prove(course: _Course) -> list[_Trust]:
    """The first certificate of every entry, and its verifier; entries with the same demands share one."""
    trusts: list[_Trust] = []
    verifiers: dict[tuple[Verify, int], Verifier] = {}
    async with anyio.create_task_group() as starting:
        starting.start_soon(_cancel_on, course.stop, starting)
        for entry in course.manifest.entries:
            verifier = None
            if entry.verify is not None:
                key = (entry.verify, entry.so_mark)
                if key not in verifiers:
                    verifiers[key] = Verifier(*key)
                    await verifiers[key].start()
                    course.background.start_soon(verifiers[key].prefetch)
                verifier = verifiers[key]
            if entry.attest is None:
                identity = throwaway_identity(name=entry.pointer)
            else:
                identity = attested_identity(entry.attest, entry.so_mark, name=entry.pointer)
            await identity.start()
            trusts.append(_Trust(entry, identity, verifier))
        starting.cancel_scope.cancel()
    return trusts


def _bind(course: _Course, bound: dict[str, list[socket.socket]]) -> None:
    for entry in course.manifest.entries:
        bound[entry.pointer] = listeners(entry)
        for listener in bound[entry.pointer]:
            course.resources.callback(listener.close)


async def _bind_late(
    course: _Course,
    entry: Entry,
    bound: dict[str, list[socket.socket]],
    acceptor: Acceptor,
    handlers: Mapping[str, Callable[[socket.socket], None]],
) -> None:
    """Listen in a family that the host gets after the start, such as IPv6 with its loopback address."""
    here = bound[entry.pointer]
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
            acceptor.start([(sock, handlers[entry.pointer])])
            log.info("listening_late", entry=entry.pointer, address=sock.getsockname()[0])


def _open(rules: Rules, bound: dict[str, list[socket.socket]]) -> None:
    # What is captured from here on is refused: a connection that only waits to be accepted would outlive the rules.
    for listener in (sock for sockets in bound.values() for sock in sockets):
        stop_listening(listener)
    rules.remove()


def _handlers(
    trusts: list[_Trust], poller: Poller, counts: Counts, acceptor: Acceptor, connections: TaskGroup
) -> dict[str, Callable[[socket.socket], None]]:
    relay, own = Relay(poller), OwnConnections()

    def handler(trust: _Trust) -> Callable[[socket.socket], None]:
        door = Door("client" if trust.entry.role == "ingress" else "server", trust.identity, trust.verifier, poller)
        sessions = Sessions(trust.entry, door, relay, poller, counts, own)

        async def serve_one(captured: socket.socket) -> None:
            try:
                await sessions.serve(captured)
            finally:
                acceptor.release()

        def spawn(captured: socket.socket) -> None:
            connections.start_soon(serve_one, captured)

        return spawn

    return {trust.entry.pointer: handler(trust) for trust in trusts}


async def _on_signals(signals: AsyncIterator[signal.Signals], stop: anyio.Event, hurry: anyio.Event) -> None:
    async for number in signals:
        log.info("hurrying" if stop.is_set() else "stopping", signal=number.name)
        if stop.is_set():
            hurry.set()
        stop.set()


async def _cancel_on(event: anyio.Event, group: TaskGroup) -> None:
    await event.wait()
    group.cancel_scope.cancel()


def _announce(manifest: Manifest) -> None:
    for entry in manifest.entries:
        log.info("capturing", entry=entry.pointer, listen_port=entry.listen_port, **_trust_words(entry))
    log.info("serving", table=manifest.table, entries=len(manifest.entries), config=manifest.config_sha256[:12])
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
    log.info("stopped", relayed=course.counts.relayed, **_refusals(course.counts), **words)


def _refusals(counts: Counts) -> dict[str, object]:
    left: dict[str, object] = {"left": counts.left} if counts.left else {}
    return left | {f"refused.{code}": number for code, number in sorted(counts.refused.items())}
