"""Our own certificate: got, renewed, never shown after its end. Agent and service are real, the clock is not."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import anyio
import pytest

from tng_demo.sample_agent import Behaviour, SampleAgent
from tng_demo.sample_authority import b64url
from tng_demo.sample_service import SampleService
from tng_runtime.attest.certificate import read_certificate
from tng_runtime.attest.codes import Code
from tng_runtime.attest.evidence import CocoEvidence, CocoToken
from tng_runtime.attest.issue import VALIDITY
from tng_runtime.errors import HostError, Refused
from tng_runtime.manifest import Attest, Service
from tng_runtime.tunnel import credentials, identity
from tng_runtime.tunnel.credentials import Credentials, Source, token_end
from tng_runtime.tunnel.identity import Identity, attested_identity, throwaway_identity
from tng_runtime.tunnel.service import ServiceClient

pytestmark = pytest.mark.anyio


class Clock:
    """A time that moves when somebody sleeps. ``at`` runs what a test wants to happen meanwhile, once, so many seconds
    after the start, by the clock that nobody sets.
    """

    def __init__(self) -> None:
        self.time = self.started = datetime.now(UTC).replace(microsecond=0)
        self.booted = 0.0
        self.slept: list[float] = []
        self._due: list[tuple[float, Callable[[], object]]] = []

    def now(self) -> datetime:
        return self.time

    def at(self, seconds: float, action: Callable[[], object]) -> None:
        self._due.append((seconds, action))

    def boottime(self) -> float:
        return self.booted

    def set(self, **by: float) -> None:
        """Somebody sets the clock forward, or back."""
        self.time += timedelta(**by)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
        self.booted += seconds
        for due in [due for due in self._due if due[0] <= self.booted]:
            self._due.remove(due)
            due[1]()
        await anyio.lowlevel.checkpoint()

    @property
    def seconds(self) -> float:
        return (self.time - self.started).total_seconds()


def background(agent: SampleAgent, interval: int = 600) -> Attest:
    return Attest("background_check", str(agent.path), interval, None, ())


def ticking(source: Source, interval: int | None, clock: Clock) -> Identity:
    return Identity(source, interval, name="/add_egress/0", now=clock.now, boottime=clock.boottime, sleep=clock.sleep)


async def run_until(own: Identity, clock: Clock, seconds: float) -> None:
    """Renew until the clock says ``seconds`` after its start."""
    with anyio.CancelScope() as scope:
        clock.at(seconds, scope.cancel)
        await own.run()


def counted(source: Source) -> tuple[Source, list[datetime]]:
    made: list[datetime] = []

    async def issue(now: datetime) -> Credentials:
        made.append(now)
        return await source(now)

    return issue, made


async def test_the_certificate_carries_the_agents_evidence(agent: SampleAgent) -> None:
    own = attested_identity(background(agent), 0)
    await own.start()
    shown = own.current()
    presented = read_certificate(shown.certificate_der, datetime.now(UTC))
    assert isinstance(presented.evidence, CocoEvidence)
    assert presented.evidence.tee == "sample"
    assert presented.not_after == shown.not_after == own.state.not_after
    assert await own.for_handshake("10.0.0.1") is shown


async def test_a_passport_carries_a_token_and_ends_with_it(agent: SampleAgent, service: SampleService) -> None:
    service.change(lifetime=240)
    own = attested_identity(Attest("passport", str(agent.path), 600, Service(service.url, ()), ("default",)), 0)
    started = datetime.now(UTC)
    await own.start()
    shown = own.current()
    presented = read_certificate(shown.certificate_der, datetime.now(UTC))
    assert isinstance(presented.evidence, CocoToken)
    assert shown.not_after == token_end(presented.evidence.token)
    assert timedelta(seconds=238) < shown.not_after - started < timedelta(seconds=242)
    assert own.state.renew_at is not None
    assert own.state.renew_at - started < timedelta(seconds=170), "two thirds of the token's life, not refresh_interval"


async def test_a_throwaway_certificate_carries_nothing() -> None:
    own = throwaway_identity()
    await own.start()
    with pytest.raises(Refused) as caught:
        read_certificate(own.current().certificate_der, datetime.now(UTC))
    assert caught.value.code == Code.CERT_NO_EVIDENCE


async def test_an_agent_that_is_absent_at_the_start_is_told_with_what_to_do(agent: SampleAgent) -> None:
    agent.close()
    with pytest.raises(HostError, match=str(agent.path)) as caught:
        await attested_identity(background(agent), 0, name="/add_egress/0").start()
    assert caught.value.exit_code == 3
    assert "aa_addr" in caught.value.hint


async def test_a_service_that_is_absent_at_the_start_is_told_with_what_to_do(
    agent: SampleAgent, service: SampleService
) -> None:
    service.close()
    attest = Attest("passport", str(agent.path), 600, Service(service.url, ()), ("default",))
    with pytest.raises(HostError, match="RA-SERVICE-UNREACHABLE") as caught:
        await attested_identity(attest, 0).start()
    assert "as_addr" in caught.value.hint


async def test_it_is_renewed_after_the_interval(agent: SampleAgent) -> None:
    clock = Clock()
    source, made = counted(credentials.background_check(background(agent)))
    own = ticking(source, 600, clock)
    await own.start()
    first = own.current()
    await run_until(own, clock, 2000)
    assert [round((when - clock.started).total_seconds()) for when in made] == [0, 600, 1200, 1800]
    assert own.current().certificate_der != first.certificate_der


async def test_it_is_renewed_well_before_its_end_whatever_the_interval() -> None:
    clock = Clock()
    source, made = counted(credentials.throwaway)
    own = ticking(source, 1_000_000, clock)
    await own.start()
    await run_until(own, clock, VALIDITY.total_seconds())
    assert [(when - clock.started) / VALIDITY for when in made] == [0, 2 / 3]


async def test_h63_an_expired_certificate_is_never_shown_and_a_new_one_comes_without_a_restart(
    agent: SampleAgent,
) -> None:
    clock = Clock()
    own = ticking(credentials.background_check(background(agent)), 600, clock)
    await own.start()
    first = own.current()
    agent.close()
    life = VALIDITY.total_seconds()

    def still_shown() -> None:
        assert own.current() is first

    def refused() -> None:
        with pytest.raises(Refused) as caught:
            own.current()
        assert caught.value.code == Code.SELF_EXPIRED
        assert own.state.refusal == Code.AGENT_UNREACHABLE

    clock.at(life - 120, still_shown)
    clock.at(life + 1, refused)
    clock.at(life + 100, agent.start)
    await run_until(own, clock, life + 300)
    assert own.current().certificate_der != first.certificate_der
    assert (own.state.failures, own.state.refusal) == (0, None)
    assert own.current().not_after > clock.now()


SECONDS = 3


def good(own: Identity, clock: Clock) -> None:
    """What is shown holds for a peer whose clock is right."""
    read_certificate(own.current().certificate_der, clock.now())


async def test_a_start_an_hour_ahead_is_repaired_within_seconds_of_the_correction(agent: SampleAgent) -> None:
    clock = Clock()
    own = ticking(credentials.background_check(background(agent)), 600, clock)
    clock.set(hours=1)
    await own.start()
    clock.set(hours=-1)
    with pytest.raises(Refused) as caught:
        good(own, clock)
    assert caught.value.code == Code.CERT_DATES
    await run_until(own, clock, SECONDS)
    good(own, clock)


@pytest.mark.parametrize("days", [1, -1])
async def test_a_jump_of_a_day_and_back_is_survived(agent: SampleAgent, days: int) -> None:
    clock = Clock()
    own = ticking(credentials.background_check(background(agent)), 600, clock)
    await own.start()
    clock.set(days=days)
    await run_until(own, clock, SECONDS)
    good(own, clock)
    clock.set(days=-days)
    await run_until(own, clock, 2 * SECONDS)
    good(own, clock)
    assert own.state.failures == 0


async def test_a_pause_after_a_failure_is_measured_by_the_clock_that_nobody_sets(agent: SampleAgent) -> None:
    """A clock that is set back by a day meanwhile does not prolong it, one that is set forward does not shorten it."""
    clock = Clock()
    source, made = counted(credentials.background_check(background(agent)))
    own = ticking(source, 600, clock)
    await own.start()
    agent.close()
    await run_until(own, clock, 605)
    assert own.state.failures >= 2
    clock.set(days=-1)
    agent.start()
    await run_until(own, clock, 605 + 2 * identity.LAST_PAUSE)
    good(own, clock)
    agent.close()
    clock.set(days=1)
    before = len(made)
    await run_until(own, clock, 605 + 4 * identity.LAST_PAUSE)
    assert 1 < len(made) - before < 12, "no attempt after another without a pause"


async def test_the_interval_goes_on_after_the_clock_was_set_back_a_little(agent: SampleAgent) -> None:
    """By less than the certificate is old: it still holds, and is renewed when it is as old as ever."""
    clock = Clock()
    source, made = counted(credentials.background_check(background(agent)))
    own = ticking(source, 600, clock)
    await own.start()
    clock.at(500, lambda: clock.set(seconds=-400))
    await run_until(own, clock, 605)
    assert len(made) == 2


async def test_a_throwaway_certificate_is_shown_whatever_its_dates() -> None:
    """Nobody looks at them, so no clock may end the connections of a side that only verifies."""
    own = throwaway_identity()
    await own.start()
    clock = Clock()
    own._now = clock.now
    clock.set(days=400)
    shown = own.current()
    assert shown.not_after < clock.now()
    assert await own.for_handshake("10.0.0.1") is shown


async def test_pauses_grow_are_jittered_and_have_an_end(agent: SampleAgent) -> None:
    clock = Clock()
    source, made = counted(credentials.background_check(background(agent)))
    own = ticking(source, 600, clock)
    await own.start()
    agent.close()
    await run_until(own, clock, 1500)
    pauses = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(made[1:])]
    for number, pause in enumerate(pauses):
        longest = min(identity.LAST_PAUSE, 2.0**number)
        assert longest / 2 <= pause <= longest
    assert len({round(pause / min(identity.LAST_PAUSE, 2.0**n), 3) for n, pause in enumerate(pauses)}) > 3
    assert own.state.failures == len(made) - 1
    assert max(clock.slept) <= identity.LONGEST_SLEEP


async def test_a_refresh_interval_of_zero_makes_a_certificate_for_each_handshake(agent: SampleAgent) -> None:
    own = attested_identity(background(agent, interval=0), 0)
    await own.start()
    shown = {(await own.for_handshake("10.0.0.1")).certificate_der for _ in range(3)}
    assert len(shown) == 3
    agent.behaviour = Behaviour.ERROR
    with pytest.raises(Refused) as caught:
        await own.for_handshake("10.0.0.1")
    assert caught.value.code == Code.AGENT_STATUS


async def test_many_handshakes_do_not_ask_the_agent_all_at_once(agent: SampleAgent) -> None:
    asking = most = 0
    ready = anyio.Event()

    async def issue(now: datetime) -> Credentials:
        nonlocal asking, most
        asking += 1
        most = max(most, asking)
        if asking == identity.MAX_COLLECTING:
            ready.set()
        with anyio.fail_after(20):
            await ready.wait()
        asking -= 1
        return await credentials.throwaway(now)

    own = Identity(issue, 0)
    async with anyio.create_task_group() as group:
        for number in range(50):
            group.start_soon(own.for_handshake, f"10.0.0.{number % 2}")
    assert most == identity.MAX_COLLECTING


async def test_a_token_that_has_ended_already_is_not_shown(agent: SampleAgent, service: SampleService) -> None:
    service.change(lifetime=-10)
    attest = Attest("passport", str(agent.path), 0, Service(service.url, ()), ("default",))
    own = Identity(credentials.passport(attest, ServiceClient(Service(service.url, ()), 0)), 0)
    with pytest.raises(HostError, match="RA-SELF-EXPIRED"):
        await own.start()
    with pytest.raises(Refused) as caught:
        await own.for_handshake("10.0.0.1")
    assert caught.value.code == Code.SELF_EXPIRED


async def test_before_the_start_there_is_nothing_to_show() -> None:
    with pytest.raises(Refused) as caught:
        throwaway_identity().current()
    assert caught.value.code == Code.SELF_EXPIRED


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        pytest.param(b'{"exp":"1"}', Code.TOKEN_TIME, id="text"),
        pytest.param(b'{"exp":true}', Code.TOKEN_TIME, id="true"),
        pytest.param(b'{"exp":1.5}', Code.TOKEN_TIME, id="fraction"),
        pytest.param(b'{"exp":9223372036854775808}', Code.TOKEN_TIME, id="2-to-63"),
        pytest.param(b'{"exp":1,"exp":2}', Code.TOKEN_FORM, id="twice"),
        pytest.param(b"[]", Code.TOKEN_FORM, id="no-object"),
        pytest.param(b"\xff", Code.TOKEN_FORM, id="no-json"),
    ],
)
async def test_a_token_of_our_own_without_a_readable_end_is_refused(payload: bytes, code: Code) -> None:
    with pytest.raises(Refused) as caught:
        token_end(f"e30.{b64url(payload)}.e30")
    assert caught.value.code == code


async def test_a_token_without_an_end_has_none() -> None:
    assert token_end(f"e30.{b64url(b'{}')}.e30") is None
