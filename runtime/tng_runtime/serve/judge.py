"""The judge: certificates of our own from the agent, verdicts on those of others from the service, for all workers.

It has the mark's capability and nothing else, once it has read the certificates that the manifest names, which may be
root's alone. The agent's socket may be as well: the supervisor connects to it on the judge's behalf.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio
from anyio.abc import SocketStream, TaskGroup, UNIXSocketStream
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tng_runtime import log
from tng_runtime.attest.codes import Code
from tng_runtime.counts import Asked
from tng_runtime.errors import HostError, Refused
from tng_runtime.kernel import memory
from tng_runtime.manifest import Entry, Manifest, Verify
from tng_runtime.messages import (
    AgentAway,
    AgentGiven,
    AgentWanted,
    Attach,
    Certificate,
    CertificateWanted,
    Declined,
    Failed,
    JudgeTally,
    Lost,
    Message,
    Ping,
    Pong,
    Ready,
    VerdictGiven,
    VerdictWanted,
)
from tng_runtime.serve import privileges, syscalls
from tng_runtime.serve.channel import Channel, close_all
from tng_runtime.serve.privileges import Unprivileged
from tng_runtime.serve.tally import judge_tally
from tng_runtime.serve.tickets import Tickets
from tng_runtime.tunnel.credentials import Credentials
from tng_runtime.tunnel.handshake import VERDICT_SECONDS
from tng_runtime.tunnel.identity import Identity, attested_identity, throwaway_identity
from tng_runtime.tunnel.verifier import Verifier

# Of one worker; an honest one has as many connections.
MAX_OPEN_REQUESTS = 1 << 16
TALLY_SECONDS = 1.0


def run(manifest: Manifest, to: Unprivileged, sock: socket.socket) -> None:
    """Be the judge until the supervisor is gone."""
    # Before there is a loop: libuv ends a process whose io_uring(7) stops working.
    syscalls.refuse()
    anyio.run(_run, manifest, to, sock, backend_options={"use_uvloop": True})


async def _run(manifest: Manifest, to: Unprivileged, sock: socket.socket) -> None:
    parent = os.getppid()
    async with anyio.create_task_group() as tasks:
        judge = Judge(manifest, sock, tasks)
        try:
            await judge.read_pins()
            privileges.drop(to)
            privileges.die_with(parent)
            privileges.only_read_files()
            # Its thread has what this one has, and nothing that was given up.
            log.hand_over()
            await judge.start()
        except HostError as error:
            judge.supervisor.send(Failed(error.message, error.hint, error.exit_code))
            await judge.supervisor.flushed()
            tasks.cancel_scope.cancel()


@dataclass(eq=False, slots=True)
class _Worker:
    channel: Channel | None = None
    open_requests: int = 0

    def send(self, message: Message) -> None:
        if self.channel is not None:
            self.channel.send(message)


@dataclass(slots=True)
class _Trusts:
    """By the number of an entry."""

    identities: list[Identity] = field(default_factory=list)
    verifiers: list[Verifier | None] = field(default_factory=list)
    agents: list[Asked] = field(default_factory=list)
    services: list[Asked] = field(default_factory=list)


class Judge:
    """The supervisor's channel, any number of workers, and what their entries trust."""

    def __init__(self, manifest: Manifest, sock: socket.socket, tasks: TaskGroup) -> None:
        self._manifest = manifest
        self._tasks = tasks
        self.supervisor = Channel(sock, self._told, _supervisor_is_gone)
        self._workers: set[_Worker] = set()
        self._agents = Tickets[socket.socket]()
        self._trusts = _Trusts()
        self._shown: dict[int, Credentials] = {}

    async def read_pins(self) -> None:
        """Make the verifiers and identities, which reads files; entries with the same demands share a verifier.

        Raises ``HostError``.
        """
        made: dict[tuple[Verify, int], Verifier] = {}
        for entry in self._manifest.entries:
            if entry.verify is not None and (key := (entry.verify, entry.so_mark)) not in made:
                made[key] = Verifier(*key)
                await made[key].start()
                # Who shares a verifier shares its calls: they count for the first of them.
                self._trusts.services.append(made[key].asked)
            else:
                self._trusts.services.append(Asked())
            self._trusts.agents.append(Asked())
            self._trusts.verifiers.append(made[entry.verify, entry.so_mark] if entry.verify else None)
        self._trusts.identities = [self._identity(*numbered) for numbered in enumerate(self._manifest.entries)]

    async def start(self) -> None:
        """Get the first certificate of every entry, and tell the supervisor. Raises ``HostError``."""
        self._tasks.start_soon(self._tally)
        for verifier in {id(each): each for each in self._trusts.verifiers if each}.values():
            self._tasks.start_soon(verifier.prefetch)
        for identity in self._trusts.identities:
            await identity.start()
        for identity in self._trusts.identities:
            self._tasks.start_soon(identity.run)
        memory.unmap_files()
        self.supervisor.send(Ready())

    async def _tally(self) -> None:
        """Tell the supervisor what happened, now and then, unless it knows."""
        told: dict[int, JudgeTally] = {}
        lost = 0
        while True:
            for number, identity in enumerate(self._trusts.identities):
                verifier = self._trusts.verifiers[number]
                attest = self._manifest.entries[number].attest
                # What is made for one handshake is of no interest afterwards.
                made = self._shown.get(number) if attest is not None and attest.refresh_interval else None
                state = (made.not_after if made else None, identity.state.refusal)
                asked = (self._trusts.agents[number], self._trusts.services[number])
                now = judge_tally(number, state, verifier.holds if verifier else 0, *asked)
                if now != told.get(number):
                    told[number] = now
                    self.supervisor.send(now)
            if (dropped := log.lost()) != lost:
                lost = dropped
                self.supervisor.send(Lost(lost))
            await anyio.sleep(TALLY_SECONDS)

    def _identity(self, number: int, entry: Entry) -> Identity:
        async def connect(_: str) -> SocketStream:
            return await self._agent(number)

        if entry.attest is None:
            identity = throwaway_identity(name=entry.pointer)
        else:
            calls = {"agent": self._trusts.agents[number], "asked": self._trusts.services[number]}
            identity = attested_identity(entry.attest, entry.so_mark, name=entry.pointer, connect=connect, **calls)

        def renewed(made: Credentials) -> None:
            self._shown[number] = made
            for worker in self._workers:
                worker.send(_certificate(0, number, made))

        identity.on_renewal = renewed
        return identity

    async def _agent(self, number: int) -> SocketStream:
        with self._agents.issue() as (ticket, answer):
            self.supervisor.send(AgentWanted(ticket, number))
            return await UNIXSocketStream.from_socket(await answer)

    def _told(self, message: Message, descriptors: tuple[int, ...]) -> None:
        match message:
            case Attach():
                self._attach(socket.socket(fileno=descriptors[0]))
            case AgentGiven(ticket):
                given = socket.socket(fileno=descriptors[0])
                if not self._agents.answer(ticket, given):
                    given.close()
            case Ping():
                self.supervisor.send(Pong())
            case AgentAway(ticket, error):
                self._agents.fail(ticket, OSError(error, os.strerror(error)))
            case _:
                close_all(descriptors)

    def _attach(self, sock: socket.socket) -> None:
        worker = _Worker()

        def asked(message: Message, descriptors: tuple[int, ...]) -> None:
            close_all(descriptors)
            self._asked(worker, message)

        def ended(why: str | None) -> None:
            self._workers.discard(worker)
            if why is not None:
                log.error("worker_misbehaved", process="judge", detail=why)

        worker.channel = Channel(sock, asked, ended)
        self._workers.add(worker)
        for number, made in self._shown.items():
            worker.send(_certificate(0, number, made))

    def _asked(self, worker: _Worker, message: Message) -> None:
        if worker.open_requests >= MAX_OPEN_REQUESTS:
            return
        match message:
            case CertificateWanted(ticket, entry, source) if 0 <= entry < len(self._trusts.identities):
                worker.open_requests += 1
                self._tasks.start_soon(self._certify, worker, ticket, entry, source)
            case VerdictWanted(ticket, entry, source, chain) if 0 <= entry < len(self._trusts.verifiers):
                if (verifier := self._trusts.verifiers[entry]) is not None:
                    worker.open_requests += 1
                    self._tasks.start_soon(self._judge, worker, ticket, verifier, chain, source)
            case _:
                log.error(
                    "worker_misbehaved", process="judge", detail=f"a {type(message).__name__} that makes no sense"
                )

    async def _certify(self, worker: _Worker, ticket: int, entry: int, source: str) -> None:
        try:
            with _in_time(Code.AGENT_DEADLINE):
                made = await self._trusts.identities[entry].for_handshake(source)
            worker.send(_certificate(ticket, entry, made))
        except Refused as refused:
            worker.send(Declined(ticket, refused.code, refused.detail))
        except Exception as error:
            worker.send(_bug(ticket, error))
        finally:
            worker.open_requests -= 1

    async def _judge(
        self, worker: _Worker, ticket: int, verifier: Verifier, chain: tuple[bytes, ...], source: str
    ) -> None:
        try:
            with _in_time(Code.SERVICE_DEADLINE):
                given = await verifier.verify(chain, source)
            kept = verifier.kept_until(chain)
            worker.send(VerdictGiven(ticket, kept, given.expires_at, given.policy_ids))
        except Refused as refused:
            worker.send(Declined(ticket, refused.code, refused.detail))
        except Exception as error:
            worker.send(_bug(ticket, error))
        finally:
            worker.open_requests -= 1


@contextlib.contextmanager
def _in_time(code: Code) -> Iterator[None]:
    """No longer than whoever asks waits for it; raises ``Refused``."""
    try:
        with anyio.fail_after(VERDICT_SECONDS):
            yield
    except TimeoutError:
        raise Refused(code, f"not done in {VERDICT_SECONDS:g} s") from None


def _certificate(ticket: int, entry: int, made: Credentials) -> Certificate:
    key = made.private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return Certificate(ticket, entry, made.certificate_der, key, made.not_after)


def _bug(ticket: int, error: Exception) -> Declined:
    log.error("bug", process="judge", error=f"{type(error).__name__}: {error}", advice="please report it")
    return Declined(ticket, Code.SELF_JUDGE, "the judge failed; its log says why")


def _supervisor_is_gone(_: str | None) -> None:
    log.close()
    os._exit(0)


def connect_agent(path: str) -> socket.socket:
    """For the supervisor: connect to the agent's socket without waiting. Raises ``OSError``."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except ValueError as error:  # a path that is too long, or has a zero byte
        sock.close()
        raise OSError(errno.ENAMETOOLONG, str(error)) from None
    except OSError:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return sock
