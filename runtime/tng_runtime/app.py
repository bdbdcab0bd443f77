"""The runtime from a directory to its end. Read this first: ``serve`` is one call a stage.

Order is safety here. Certificates and listeners exist before the rules do, so nothing is captured that cannot be
served; connections end before the rules go, so nothing captured continues in plaintext; and the rules go only when an
operator asks for it. Whatever else ends the process leaves them, and they refuse what they captured.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from tng_runtime import log
from tng_runtime.accept.acceptor import Acceptor, connection_limit
from tng_runtime.kernel import cgroups, instance, ipsets, nftables
from tng_runtime.kernel.listeners import warn as warn_of_listeners
from tng_runtime.kernel.readiness import Poller
from tng_runtime.kernel.sockets import listeners
from tng_runtime.manifest import Bundle, Entry, Manifest, Verify, load_bundle
from tng_runtime.relay.link import Relay
from tng_runtime.relay.session import Counts, Sessions
from tng_runtime.tunnel import openssl
from tng_runtime.tunnel.handshake import Door
from tng_runtime.tunnel.identity import Identity, attested_identity, throwaway_identity
from tng_runtime.tunnel.verifier import Verifier


@dataclass(frozen=True, slots=True)
class Options:
    """``drain_seconds``: how long open connections go on after a signal, unless a second one ends them at once.

    ``keep_rules``: leave the table, closed.
    """

    drain_seconds: float = 10.0
    keep_rules: bool = False


@dataclass(frozen=True, slots=True)
class _Trust:
    entry: Entry
    identity: Identity
    verifier: Verifier | None


def run(directory: Path, options: Options) -> None:
    """Execute the manifest and ruleset in ``directory`` until SIGINT or SIGTERM; raises ``HostError``."""
    bundle = load_bundle(directory)
    nftables.require_privileges()
    openssl.require()
    cgroups.require(bundle.manifest.cgroups)
    with instance.hold(bundle.manifest.table):
        anyio.run(_run, bundle, options, backend_options={"use_uvloop": True})


async def _run(bundle: Bundle, options: Options) -> None:
    stop, hurry = anyio.Event(), anyio.Event()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as background:
            background.start_soon(_on_signals, signals, stop, hurry)
            await serve(bundle, options, stop, hurry, background)
            background.cancel_scope.cancel()


async def serve(bundle: Bundle, options: Options, stop: anyio.Event, hurry: anyio.Event, background: TaskGroup) -> None:
    """Start, serve until ``stop``, drain until ``hurry``, clean up; ``background`` gets what goes on beside it."""
    trusts = await _prove(bundle.manifest, stop)
    if stop.is_set():
        return
    with ExitStack() as resources:
        for trust in trusts:
            background.start_soon(trust.identity.run)
        poller = Poller()
        resources.callback(poller.close)
        counts = Counts()
        bound = _bind(trusts, resources)
        async with anyio.create_task_group() as connections:
            acceptor = Acceptor(connection_limit())
            handlers = _handlers(trusts, poller, counts, acceptor, connections)
            follower = cgroups.Follower(bundle.manifest.table, bundle.manifest.cgroups)
            addresses = ipsets.Follower([bundle.manifest.table], bundle.manifest.ipsets)
            extra = addresses.commands(bundle.manifest.table)
            nftables.load(bundle.ruleset, bundle.manifest.table, lambda: extra + follower.commands())
            background.start_soon(follower.run)
            background.start_soon(addresses.run)
            warn_of_listeners(bundle.manifest.cgroups.services)
            acceptor.start((listener, handlers[trust.entry.pointer]) for trust, listener in bound)
            _announce(bundle.manifest)
            await stop.wait()
            acceptor.close()
            log.info("draining", seconds=options.drain_seconds)
            connections.cancel_scope.deadline = anyio.current_time() + options.drain_seconds
            background.start_soon(_cancel_on, hurry, connections)
        if not options.keep_rules:
            nftables.remove(bundle.manifest.table)
        log.info("stopped", relayed=counts.relayed, rules_kept=options.keep_rules, **_refusals(counts))


async def _prove(manifest: Manifest, stop: anyio.Event) -> list[_Trust]:
    """The first certificate of every entry, and its verifier; entries with the same demands share one."""
    trusts: list[_Trust] = []
    verifiers: dict[tuple[Verify, int], Verifier] = {}
    async with anyio.create_task_group() as starting:
        starting.start_soon(_cancel_on, stop, starting)
        for entry in manifest.entries:
            verifier = None
            if entry.verify is not None:
                key = (entry.verify, entry.so_mark)
                if key not in verifiers:
                    verifiers[key] = Verifier(*key)
                    await verifiers[key].start()
                verifier = verifiers[key]
            if entry.attest is None:
                identity = throwaway_identity(name=entry.pointer)
            else:
                identity = attested_identity(entry.attest, entry.so_mark, name=entry.pointer)
            await identity.start()
            trusts.append(_Trust(entry, identity, verifier))
        starting.cancel_scope.cancel()
    return trusts


def _bind(trusts: list[_Trust], resources: ExitStack) -> list[tuple[_Trust, socket.socket]]:
    bound: list[tuple[_Trust, socket.socket]] = []
    for trust in trusts:
        for listener in listeners(trust.entry):
            resources.callback(listener.close)
            bound.append((trust, listener))
    return bound


def _handlers(
    trusts: list[_Trust], poller: Poller, counts: Counts, acceptor: Acceptor, connections: TaskGroup
) -> dict[str, Callable[[socket.socket], None]]:
    relay = Relay(poller)

    def handler(trust: _Trust) -> Callable[[socket.socket], None]:
        door = Door("client" if trust.entry.role == "ingress" else "server", trust.identity, trust.verifier, poller)
        sessions = Sessions(trust.entry, door, relay, poller, counts)

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


def _refusals(counts: Counts) -> dict[str, object]:
    return {f"refused.{code}": number for code, number in sorted(counts.refused.items())}
