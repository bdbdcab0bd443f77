"""A worker's side of the judge: certificates that it was given, and verdicts that it asks for and keeps.

When the judge dies another takes its place: what was asked of the dead one is asked of that one again. Certificates and
verdicts that are known hold meanwhile, and no longer than they would otherwise.
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import anyio
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_private_key

from tng_runtime import log
from tng_runtime.attest.certificate import select
from tng_runtime.attest.codes import Code
from tng_runtime.attest.token import Verdict
from tng_runtime.counts import Verdicts
from tng_runtime.errors import Refused
from tng_runtime.messages import Certificate, CertificateWanted, Declined, Message, VerdictGiven, VerdictWanted
from tng_runtime.serve.channel import Channel, close_all
from tng_runtime.serve.tally import CODES
from tng_runtime.serve.tickets import Tickets
from tng_runtime.tunnel.credentials import Credentials

# Agent, service and its certificates have deadlines of their own, one after the other.
DEADLINE = 60.0
MAX_KEPT = 4096


class JudgeLine:
    """The channel to whoever is the judge now. ``on_certificate`` gets what an entry is to show."""

    def __init__(
        self,
        on_certificate: Callable[[int, Credentials], None],
        *,
        deadline: float = DEADLINE,
    ) -> None:
        self._on_certificate = on_certificate
        self._deadline = deadline
        self._channel: Channel | None = None
        self._tickets = Tickets[Message]()
        self._open: dict[int, Message] = {}

    def use(self, sock: socket.socket) -> None:
        """Ask the judge at the other end of ``sock`` from now on, and what is unanswered once more."""
        if self._channel is not None:
            self._channel.close()
        self._channel = Channel(sock, self._told, self._ended)
        for message in self._open.values():
            self._channel.send(message)

    async def ask(self, question: Callable[[int], Message]) -> Message:
        """The answer to the ``question`` that is made with a ticket; raises ``Refused``."""
        with self._tickets.issue() as (ticket, answer):
            self._open[ticket] = message = question(ticket)
            try:
                if self._channel is not None:
                    self._channel.send(message)
                with anyio.fail_after(self._deadline):
                    return await answer
            except TimeoutError:
                raise Refused(Code.SELF_JUDGE, f"no answer within {self._deadline:g} s") from None
            finally:
                del self._open[ticket]

    def _told(self, message: Message, descriptors: tuple[int, ...]) -> None:
        close_all(descriptors)
        match message:
            case Certificate(ticket=0, entry=entry):
                if (made := credentials_of(message)) is not None:
                    self._on_certificate(entry, made)
            case Certificate(ticket=ticket) | VerdictGiven(ticket=ticket):
                self._tickets.answer(ticket, message)
            case Declined(ticket, code, detail):
                self._tickets.fail(ticket, Refused(CODES.get(code, Code.SELF_JUDGE), detail))
            case _:
                log.error("judge_misbehaved", detail=f"a {type(message).__name__} that makes no sense")

    def _ended(self, why: str | None) -> None:
        self._channel = None
        if why is not None:
            log.error("judge_misbehaved", detail=why)


def credentials_of(given: Certificate) -> Credentials | None:
    """What was given; None, and a line in the log, if its key is none."""
    try:
        key = load_der_private_key(given.private_key, None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("it is not of an elliptic curve")
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        log.error("judge_misbehaved", detail=f"a key that cannot be used: {error}")
        return None
    return Credentials(given.certificate, key, given.not_after)


class RemoteIdentity:
    """What the entry at ``entry`` shows; ``each`` a certificate for every handshake, ``dated``: until it ends."""

    def __init__(self, line: JudgeLine, entry: int, *, each: bool, dated: bool) -> None:
        self._line, self._entry, self._each, self._dated = line, entry, each, dated
        self._current: Credentials | None = None
        self.given = anyio.Event()

    def give(self, made: Credentials) -> None:
        """Show ``made`` from now on."""
        self._current = made
        self.given.set()

    @property
    def made_anew(self) -> bool:
        """Whether every handshake gets a certificate of its own."""
        return self._each

    def current(self) -> Credentials:
        """The certificate to show now; raises ``Refused``."""
        return self._valid(self._current)

    async def for_handshake(self, source: str) -> Credentials:
        """``current``, or the certificate for one handshake of ``source``; raises ``Refused``."""
        if not self._each:
            return self.current()
        given = await self._line.ask(lambda ticket: CertificateWanted(ticket, self._entry, source))
        return self._valid(credentials_of(given) if isinstance(given, Certificate) else None)

    def _valid(self, made: Credentials | None) -> Credentials:
        if made is None or (self._dated and made.not_after <= datetime.now(UTC)):
            raise Refused(Code.SELF_EXPIRED, "no valid certificate of our own; the lines of the judge say why")
        return made


class RemoteVerifier:
    """Verdicts for the entry at ``entry``, kept as long as the judge says, and counted; ``now`` is aware UTC."""

    def __init__(
        self,
        line: JudgeLine,
        entry: int,
        counts: Verdicts | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._line, self._entry, self._now = line, entry, now
        self._counts = counts or Verdicts()
        # By digest: since when, until when.
        self._kept: dict[bytes, tuple[datetime, datetime, Verdict]] = {}

    def cached(self, chain: Sequence[bytes]) -> Verdict | None:
        """The verdict kept for the certificates (DER) that a peer showed."""
        verdict = self._fresh(_digest(chain[0])) if len(chain) == 1 else None
        self._counts.kept += verdict is not None
        return verdict

    async def verify(self, chain: Sequence[bytes], source: str) -> Verdict:
        """The verdict on the certificates (DER) that a peer showed; raises ``Refused`` (RA-...) without one."""
        began = time.monotonic()
        try:
            verdict = await self._verify(chain, source)
        except Refused:
            self._counts.refused += 1
            raise
        finally:
            self._counts.waited.add(time.monotonic() - began)
        self._counts.given += 1
        return verdict

    async def _verify(self, chain: Sequence[bytes], source: str) -> Verdict:
        certificate = select(chain)
        given = await self._line.ask(lambda ticket: VerdictWanted(ticket, self._entry, source, (certificate,)))
        if not isinstance(given, VerdictGiven):
            raise Refused(Code.SELF_JUDGE, "the judge's answer is no verdict")
        verdict = Verdict(given.expires_at, given.policy_ids)
        if given.kept_until is not None:
            self._keep(_digest(certificate), given.kept_until, verdict)
        return verdict

    def _fresh(self, digest: bytes) -> Verdict | None:
        kept = self._kept.get(digest)
        # A clock that was set back must not prolong a verdict.
        return kept[2] if kept is not None and kept[0] <= self._now() < kept[1] else None

    def _keep(self, digest: bytes, until: datetime, verdict: Verdict) -> None:
        now = self._now()
        if len(self._kept) >= MAX_KEPT:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] <= now < kept[1]}
        if len(self._kept) < MAX_KEPT:
            self._kept[digest] = (now, until, verdict)


def _digest(certificate: bytes) -> bytes:
    return hashlib.sha256(certificate).digest()
