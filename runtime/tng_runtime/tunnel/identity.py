"""Who we are to a peer: the current certificate, and the task that always has the next one ready.

A certificate is shown while it lasts and never afterwards. It is renewed after ``refresh_interval`` seconds, and in any
case when two thirds of its life are over: an agent or service that is away has the last third to come back, asked again
with growing, jittered pauses. The new certificate takes the place of the old one in a single assignment. With
``refresh_interval`` 0 every handshake gets one of its own.

The clock may be set, in either direction, while dates are what peers look at. So every second two clocks are looked at:
the wall's, by which a certificate begins and ends, and CLOCK_BOOTTIME (clock_gettime(2)), which nobody sets and which
counts while the machine is suspended. Intervals and pauses are measured by the second. A certificate that begins ahead
of the wall's clock is renewed at once: it was made before the clock was set back, and no peer takes it.

A throw-away certificate is shown to nobody who looks at its dates, so they never keep it from being shown.
"""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import anyio

from tng_runtime import log
from tng_runtime.attest.codes import Code
from tng_runtime.counts import Asked
from tng_runtime.errors import HostError, Refused
from tng_runtime.manifest import Attest
from tng_runtime.tunnel import credentials
from tng_runtime.tunnel.agent import Connect
from tng_runtime.tunnel.credentials import Credentials, Source
from tng_runtime.tunnel.service import ServiceClient
from tng_runtime.tunnel.turns import Turns

FIRST_PAUSE, LAST_PAUSE = 1.0, 60.0
LONGEST_SLEEP = 1.0
# Evidence for every handshake: hardware quotes queue behind each other, so no more than this many ask at once.
MAX_COLLECTING = 8


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass(frozen=True, slots=True)
class State:
    """For status and log lines: times are aware UTC, ``refusal`` is the code of the last attempt if it failed.

    ``renew_at`` is when the clock of the wall says so, ``wait_until`` the same in seconds since the boot.
    """

    begins: datetime | None = None
    not_after: datetime | None = None
    renew_at: datetime | None = None
    wait_until: float = 0.0
    failures: int = 0
    refusal: str | None = None


class Identity:
    """Certificates from ``source``; ``start`` once, spawn ``run``, then ask ``current`` or ``for_handshake``.

    ``refresh_interval`` in seconds: 0 for each handshake, None only by the certificate's life. ``dated`` False: nobody
    looks at its dates. ``now`` is the clock of the wall, ``boottime`` one that is never set, in seconds.
    """

    def __init__(
        self,
        source: Source,
        refresh_interval: int | None,
        *,
        name: str = "-",
        dated: bool = True,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        boottime: Callable[[], float] = _boottime,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self.on_renewal: Callable[[Credentials], None] = lambda _: None
        self._source = source
        self._interval = refresh_interval
        self._name = name
        self._dated = dated
        self._now = now
        self._boottime = boottime
        self._sleep = sleep
        self._current: Credentials | None = None
        self._state = State()
        self._turns = Turns(MAX_COLLECTING, Code.AGENT_BUSY)

    @property
    def state(self) -> State:
        """How renewal stands."""
        return self._state

    async def start(self) -> None:
        """Get the first certificate; raises ``HostError`` (exit 3) with what to do if agent or service give none."""
        try:
            await self._renew()
        except Refused as refused:
            hint = refused.code.action if isinstance(refused.code, Code) else "look at the agent and the service"
            raise HostError(f"no certificate for {self._name}: {refused.detail} ({refused.code})", hint=hint) from None

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            while (left := self._left()) > 0:
                await self._sleep(min(left, LONGEST_SLEEP))
            try:
                await self._renew()
            except Refused as refused:
                self._failed(refused)

    def current(self) -> Credentials:
        """The certificate to show now; raises ``Refused`` (RA-SELF-EXPIRED) when there is none that still holds."""
        found = self._current
        if found is None or (self._dated and found.not_after <= self._now()):
            raise Refused(Code.SELF_EXPIRED, f"no valid certificate of our own; last failure: {self._state.refusal}")
        return found

    @property
    def made_anew(self) -> bool:
        """Whether every handshake gets a certificate of its own, which takes time to make."""
        return self._interval == 0

    async def for_handshake(self, source: str) -> Credentials:
        """``current``, or with ``refresh_interval`` 0 a certificate made for this handshake; raises ``Refused``.

        ``source`` is whose turn it takes where evidence is scarce.
        """
        if not self.made_anew:
            return self.current()
        async with self._turns.turn(source):
            made = await self._source(self._now())
        if made.not_after <= self._now():
            raise Refused(Code.SELF_EXPIRED, "the certificate made for this handshake has ended already")
        return made

    async def _renew(self) -> None:
        started = self._now()
        made = await self._source(started)
        now = self._now()
        if made.not_after <= now:
            raise Refused(Code.SELF_EXPIRED, "the new certificate or its token has ended already")
        self._current = made
        self.on_renewal(made)
        renew_at = self._renewal(started, made.not_after)
        self._state = State(
            # Certificates begin with a whole second (RFC 5280, section 4.1.2.5).
            begins=started.replace(microsecond=0),
            not_after=made.not_after,
            renew_at=renew_at,
            wait_until=self._boottime() + (renew_at - now).total_seconds(),
        )
        log.info("certificate_ready", entry=self._name, not_after=made.not_after.isoformat())

    def _renewal(self, issued: datetime, not_after: datetime) -> datetime:
        by_life = issued + (not_after - issued) * 2 / 3
        return by_life if not self._interval else min(by_life, issued + timedelta(seconds=self._interval))

    def _failed(self, refused: Refused) -> None:
        failures = self._state.failures + 1
        pause = min(LAST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16))
        # Many hosts lose one service at the same moment: they do not all come back to it at the same moment.
        pause *= random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
        self._state = replace(
            self._state,
            renew_at=None,
            wait_until=self._boottime() + pause,
            failures=failures,
            refusal=str(refused.code),
        )
        expired = self._current is None or self._current.not_after <= self._now()
        report = log.error if expired else log.warning
        report(
            "certificate_expired" if expired else "certificate_refresh_failed",
            entry=self._name,
            code=refused.code,
            detail=refused.detail,
            failures=failures,
            retry_seconds=round(pause, 1),
            not_after=self._current.not_after.isoformat() if self._current else None,
        )

    def _left(self) -> float:
        """Seconds until the next attempt, by whichever clock comes first; 0 or less: now."""
        state, now = self._state, self._now()
        left = state.wait_until - self._boottime()
        if state.failures:
            # A pause is a pause, whatever the clock of the wall was set to.
            return left
        if state.begins is None or now < state.begins:
            return 0.0
        return left if state.renew_at is None else min(left, (state.renew_at - now).total_seconds())


def attested_identity(
    attest: Attest,
    so_mark: int,
    *,
    name: str = "-",
    connect: Connect = anyio.connect_unix,
    agent: Asked | None = None,
    asked: Asked | None = None,
) -> Identity:
    """The identity of an entry with ``attest``; ``name`` (its pointer) is for messages.

    ``agent`` and ``asked`` count the calls to the agent and to the service.
    """
    if attest.service is None:
        return Identity(credentials.background_check(attest, connect, agent), attest.refresh_interval, name=name)
    service = ServiceClient(attest.service, so_mark, told=asked)
    return Identity(credentials.passport(attest, service, connect, agent), attest.refresh_interval, name=name)


def throwaway_identity(*, name: str = "-") -> Identity:
    """The identity of an entry without ``attest``: nobody verifies it, and still it never ends while shown."""
    return Identity(credentials.throwaway, None, name=name, dated=False)
