"""Whether a peer's certificate is believed: the one place that asks the service and keeps its verdicts.

``attest.verdict`` decides, this module fetches what it needs and remembers. A verdict is kept for its certificate (by
digest) under these settings until the earliest of 60 seconds, the token's end and the certificate's end. Refusals are
never kept. While a certificate is being verified, others who show the same one wait for that outcome instead of asking
again; if the one who asked gives up, the next of them asks. Sources take turns at the service (``turns``), and who is
known needs none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import anyio

from tng_runtime.attest import verdict as decide
from tng_runtime.attest.anchors import TrustAnchors
from tng_runtime.attest.certificate import PresentedCertificate, select
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence
from tng_runtime.attest.token import Verdict
from tng_runtime.counts import Asked
from tng_runtime.errors import Refused
from tng_runtime.manifest import Verify
from tng_runtime.tunnel.service import DEADLINE, ServiceClient
from tng_runtime.tunnel.trust import Trust
from tng_runtime.tunnel.turns import Turns

# Calls about peers; the client's connections beyond them are for the service's certificates.
AT_ONCE = 24
KEPT = timedelta(seconds=60)
MAX_KEPT = 4096


@dataclass(frozen=True, slots=True)
class _Kept:
    verdict: Verdict
    since: datetime
    until: datetime


@dataclass(slots=True)
class _Flight:
    """One verification under way; neither outcome is set when whoever asked gave up."""

    done: anyio.Event = field(default_factory=anyio.Event)
    verdict: Verdict | None = None
    refused: Refused | None = None


class Verifier:
    """The verifier of one ``verify`` block; entries whose blocks are equal may share one.

    ``so_mark`` is set on the sockets to the service (0: unmarked), ``deadline`` bounds each call to it in seconds.
    Raises ``HostError`` if the service's address, headers or CA cannot be used.
    """

    def __init__(
        self,
        verify: Verify,
        so_mark: int,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        deadline: float = DEADLINE,
    ) -> None:
        self._rules = decide.Rules.of(verify)
        self._now = now
        self.asked = Asked()
        self._service = (
            ServiceClient(verify.service, so_mark, deadline=deadline, told=self.asked) if verify.service else None
        )
        self._turns = Turns(AT_ONCE, Code.SERVICE_BUSY)
        self._trust = Trust(verify, self._service, now)
        self._kept: dict[bytes, _Kept] = {}
        self._flights: dict[bytes, _Flight] = {}

    async def start(self) -> None:
        """Read the pinned certificates; raises ``HostError`` (exit 3) if one cannot be used."""
        await self._trust.start()

    async def prefetch(self) -> None:
        """Ask the service for its certificates before a peer needs them; a failure is logged only."""
        await self._trust.prefetch()

    async def aclose(self) -> None:
        """End the calls under way."""
        if self._service is not None:
            await self._service.aclose()

    def cached(self, chain: Sequence[bytes]) -> Verdict | None:
        """The verdict kept for the certificates (DER) that a peer showed; None if they must be verified."""
        if len(chain) != 1:
            return None
        return self._fresh(hashlib.sha256(chain[0]).digest())

    @property
    def holds(self) -> int:
        """How many verdicts are kept, ended ones that were not looked for again among them."""
        return len(self._kept)

    def kept_until(self, chain: Sequence[bytes]) -> datetime | None:
        """Until when ``cached`` has a verdict on these certificates; None if it has none."""
        kept = self._kept.get(hashlib.sha256(chain[0]).digest()) if len(chain) == 1 else None
        return kept.until if kept else None

    async def verify(self, chain: Sequence[bytes], source: str) -> Verdict:
        """The verdict on the certificates (DER) that a peer showed; raises ``Refused`` (RA-...) without one.

        ``source`` is whose turn it takes at the service.
        """
        digest = hashlib.sha256(select(chain)).digest()
        while True:
            if (verdict := self._fresh(digest)) is not None:
                return verdict
            if (flight := self._flights.get(digest)) is None:
                return await self._lead(digest, chain, source)
            await flight.done.wait()
            if flight.refused is not None:
                raise Refused(flight.refused.code, flight.refused.detail)
            if flight.verdict is not None:
                return flight.verdict

    async def _lead(self, digest: bytes, chain: Sequence[bytes], source: str) -> Verdict:
        flight = self._flights[digest] = _Flight()
        try:
            flight.verdict = await self._ask(chain, source)
            self._keep(digest, flight.verdict)
            return flight.verdict
        except Refused as refused:
            flight.refused = refused
            raise
        finally:
            del self._flights[digest]
            flight.done.set()

    async def _ask(self, chain: Sequence[bytes], source: str) -> Verdict:
        presented = decide.examine(chain, self._rules, self._now())
        token = None
        if isinstance(presented.evidence, CocoEvidence):
            assert self._service is not None, "a background check has a service (manifest)"
            async with self._turns.turn(source):
                token = await self._service.attest(presented.evidence, self._rules.policy_ids)
        anchors = await self._trust.anchors()
        try:
            return self._conclude(presented, token, anchors)
        except Refused as refused:
            if refused.code != Code.TOKEN_UNTRUSTED:
                raise
            if (renewed := await self._trust.renewed(anchors)) is None:
                raise
            return self._conclude(presented, token, renewed)

    def _conclude(self, presented: PresentedCertificate, token: str | None, anchors: TrustAnchors | None) -> Verdict:
        return decide.conclude(presented, token, anchors, self._rules, self._now())

    def _fresh(self, digest: bytes) -> Verdict | None:
        kept = self._kept.get(digest)
        # A clock that was set back must not prolong a verdict.
        if kept is None or not kept.since <= self._now() < kept.until:
            return None
        return kept.verdict

    def _keep(self, digest: bytes, verdict: Verdict) -> None:
        now = self._now()
        until = now + KEPT if verdict.expires_at is None else min(now + KEPT, verdict.expires_at)
        if len(self._kept) >= MAX_KEPT:
            self._kept = {key: kept for key, kept in self._kept.items() if kept.since <= now < kept.until}
        if len(self._kept) < MAX_KEPT:
            self._kept[digest] = _Kept(verdict, now, until)
