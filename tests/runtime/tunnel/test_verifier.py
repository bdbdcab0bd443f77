"""The verifier against certificates of the sample agent and the sample service, both real; the clock may be ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from tng_demo.sample_agent import Behaviour, SampleAgent
from tng_demo.sample_authority import create_authority
from tng_demo.sample_service import SampleService
from tng_runtime.attest import evidence as evidence_module
from tng_runtime.attest.certificate import read_certificate
from tng_runtime.attest.codes import Code
from tng_runtime.attest.issue import generate_key, issue_certificate, spki_sha256
from tng_runtime.errors import HostError, Refused
from tng_runtime.manifest import Attest, Model, Service, Verify
from tng_runtime.tunnel import credentials, trust
from tng_runtime.tunnel.service import ServiceClient
from tng_runtime.tunnel.verifier import KEPT, Verifier

pytestmark = pytest.mark.anyio


SOURCE = "10.0.0.1"


class Clock:
    """A time that moves only when told.

    It starts two seconds from now: what agent and service make meanwhile, in whole seconds, has begun by then.
    """

    def __init__(self) -> None:
        self.time = datetime.now(UTC) + timedelta(seconds=2)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, **delta: float) -> None:
        self.time += timedelta(**delta)


def settings(
    service: SampleService | None, model: Model = "background_check", *, pins: tuple[str, ...] = (), skip: bool = False
) -> Verify:
    address = Service(service.url, ()) if service else None
    return Verify(model, address, ("default",), pins, skip, None, None)


async def shown(agent: SampleAgent, service: SampleService | None = None) -> tuple[bytes]:
    """What a peer shows that attests with ``agent``; with ``service`` as passport."""
    if service is None:
        source = credentials.background_check(Attest("background_check", str(agent.path), 600, None, ()))
    else:
        address = Service(service.url, ())
        attest = Attest("passport", str(agent.path), 600, address, ("default",))
        source = credentials.passport(attest, ServiceClient(address, 0))
    return ((await source(datetime.now(UTC))).certificate_der,)


async def refusal(verifier: Verifier, chain: tuple[bytes, ...]) -> str:
    with pytest.raises(Refused) as caught:
        await verifier.verify(chain, SOURCE)
    assert verifier.cached(chain) is None, "failures are never kept"
    return caught.value.code


@pytest.fixture
async def verifier(service: SampleService) -> AsyncIterator[Verifier]:
    made = Verifier(settings(service), 0)
    await made.start()
    yield made
    await made.aclose()


async def test_an_affirmed_peer_is_believed_and_remembered(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    chain = await shown(agent)
    assert verifier.cached(chain) is None
    verdict = await verifier.verify(chain, SOURCE)
    assert verdict.policy_ids == ("default",)
    assert verifier.cached(chain) is verdict
    assert await verifier.verify(chain, SOURCE) is verdict
    assert service.calls == {"/certificate": 1, "/attestation": 1}


async def test_a_passport_is_believed_without_asking_about_it(agent: SampleAgent, service: SampleService) -> None:
    chain = await shown(agent, service)
    verifier = Verifier(settings(service, "passport"), 0)
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)
    assert service.calls == {"/attestation": 1, "/certificate": 1}


@pytest.mark.parametrize("dialect", ["list", "flat"])
@pytest.mark.parametrize("form", ["ear", "simple"])
@pytest.mark.parametrize("x5c", ["url", "standard"])
async def test_every_dialect_and_form_of_a_service_is_understood(
    agent: SampleAgent, service: SampleService, verifier: Verifier, dialect: str, form: str, x5c: str
) -> None:
    service.change(dialect=dialect, form=form, x5c=x5c)
    assert (await verifier.verify(await shown(agent), SOURCE)).policy_ids == ("default",)


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        pytest.param(Behaviour.FOREIGN_REPORT_DATA, Code.SERVICE_STATUS, id="h33_report_data_of_other_bytes"),
        pytest.param(Behaviour.OTHER_TEE, Code.SERVICE_STATUS, id="h35_another_tee"),
        pytest.param(Behaviour.NO_REPORT_DATA, Code.SERVICE_STATUS, id="h38_no_report_data"),
    ],
)
async def test_evidence_that_the_service_does_not_verify_is_refused(
    agent: SampleAgent, verifier: Verifier, behaviour: Behaviour, code: Code
) -> None:
    agent.behaviour = behaviour
    assert await refusal(verifier, await shown(agent)) == code


async def test_h34_evidence_of_an_honest_peer_under_another_key_is_refused(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    honest = read_certificate((await shown(agent))[0], datetime.now(UTC)).evidence
    assert isinstance(honest, evidence_module.CocoEvidence)
    key = generate_key()
    replayed = issue_certificate(key, honest, datetime.now(UTC))
    assert await refusal(verifier, (replayed,)) == Code.KEY_BINDING
    own = evidence_module.runtime_data(spki_sha256(key))
    renamed = evidence_module.CocoEvidence(honest.tee, honest.evidence, None, own)
    assert await refusal(verifier, (issue_certificate(key, renamed, datetime.now(UTC)),)) == Code.SERVICE_STATUS


async def test_h36_evidence_that_the_service_does_not_affirm_is_refused_until_it_does(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    """The refusal is not kept: the next connection asks again."""
    chain = await shown(agent)
    service.change(affirming=False)
    assert await refusal(verifier, chain) == Code.TOKEN_STATUS
    assert await refusal(verifier, chain) == Code.TOKEN_STATUS
    service.change(affirming=True)
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)
    assert service.calls["/attestation"] == 3


async def test_h50_a_device_that_is_not_affirmed_is_refused(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    agent.behaviour = Behaviour.ADDITIONAL
    chain = await shown(agent)
    service.change(devices=False)
    assert await refusal(verifier, chain) == Code.TOKEN_STATUS
    service.change(devices=True)
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)


async def test_h24_the_other_model_is_refused(agent: SampleAgent, service: SampleService, verifier: Verifier) -> None:
    assert await refusal(verifier, await shown(agent, service)) == Code.EVIDENCE_MODEL
    passport = Verifier(settings(service, "passport"), 0)
    assert await refusal(passport, await shown(agent)) == Code.EVIDENCE_MODEL


@pytest.mark.parametrize("count", [0, 2])
async def test_h14_no_certificate_or_two_are_refused_though_one_is_cached(
    agent: SampleAgent, verifier: Verifier, count: int
) -> None:
    chain = await shown(agent)
    await verifier.verify(chain, SOURCE)
    assert await refusal(verifier, chain * count) == Code.CERT_CHAIN


async def test_a_verdict_is_kept_for_a_minute(agent: SampleAgent, service: SampleService) -> None:
    clock = Clock()
    verifier = Verifier(settings(service), 0, now=clock)
    chain = await shown(agent)
    await verifier.verify(chain, SOURCE)
    clock.forward(seconds=KEPT.total_seconds() - 1)
    assert verifier.cached(chain) is not None
    clock.forward(seconds=1)
    assert verifier.cached(chain) is None
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)
    assert service.calls["/attestation"] == 2


async def test_a_clock_that_is_set_back_does_not_prolong_a_verdict(agent: SampleAgent, service: SampleService) -> None:
    clock = Clock()
    verifier = Verifier(settings(service), 0, now=clock)
    chain = await shown(agent)
    clock.forward(seconds=5)
    await verifier.verify(chain, SOURCE)
    clock.forward(seconds=-1)
    assert verifier.cached(chain) is None


@pytest.mark.parametrize(
    ("lifetime", "kept"),
    [pytest.param(20, 16.0, id="by_exp"), pytest.param(300, 59.0, id="by_ttl")],
)
async def test_h59_while_the_service_is_down_a_verdict_holds_until_its_end_and_others_are_refused(
    agent: SampleAgent, service: SampleService, lifetime: int, kept: float
) -> None:
    clock = Clock()
    service.change(lifetime=lifetime)
    verifier = Verifier(settings(service), 0, now=clock)
    chain, other = await shown(agent), await shown(agent)
    await verifier.verify(chain, SOURCE)
    service.close()
    clock.forward(seconds=kept)
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)
    assert await refusal(verifier, other) == Code.SERVICE_UNREACHABLE
    clock.forward(seconds=5)
    assert await refusal(verifier, chain) == Code.SERVICE_UNREACHABLE


async def test_a_verdict_ends_with_its_certificate(agent: SampleAgent, service: SampleService) -> None:
    clock = Clock()
    service.change(lifetime=100_000)
    verifier = Verifier(settings(service), 0, now=clock)
    chain = await shown(agent)
    clock.forward(hours=6, seconds=-30)
    await verifier.verify(chain, SOURCE)
    clock.forward(seconds=31)
    assert verifier.cached(chain) is None
    assert await refusal(verifier, chain) == Code.CERT_DATES


async def test_h60_a_pin_is_exclusive(agent: SampleAgent, service: SampleService, tmp_path: Path) -> None:
    """The service shows a CA of its own and signs with it; the pin is another one's."""
    pinned = create_authority()
    (tmp_path / "ca.pem").write_bytes(pinned.ca_pem)
    verifier = Verifier(settings(service, pins=(str(tmp_path / "ca.pem"),)), 0)
    await verifier.start()
    await verifier.prefetch()
    chain = await shown(agent)
    assert await refusal(verifier, chain) == Code.TOKEN_UNTRUSTED
    assert service.calls["/certificate"] == 0
    service.authority = pinned
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)
    assert service.calls["/certificate"] == 0


async def test_several_pins_each_count(agent: SampleAgent, service: SampleService, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(create_authority().ca_pem)
    (tmp_path / "ca.pem").write_bytes(service.authority.ca_pem)
    pins = (str(tmp_path / "other.pem"), str(tmp_path / "ca.pem"))
    verifier = Verifier(settings(service, pins=pins), 0)
    await verifier.start()
    assert (await verifier.verify(await shown(agent), SOURCE)).policy_ids == ("default",)


async def test_a_passport_with_a_pin_needs_no_service(
    agent: SampleAgent, service: SampleService, tmp_path: Path
) -> None:
    (tmp_path / "ca.pem").write_bytes(service.authority.ca_pem)
    chain = await shown(agent, service)
    service.close()
    verifier = Verifier(settings(None, "passport", pins=(str(tmp_path / "ca.pem"),)), 0)
    await verifier.start()
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)


async def test_skipping_the_signers_certificates_trusts_any_ca(agent: SampleAgent, service: SampleService) -> None:
    verifier = Verifier(settings(service, skip=True), 0)
    await verifier.start()
    await verifier.prefetch()
    service.authority = create_authority()
    assert (await verifier.verify(await shown(agent), SOURCE)).policy_ids == ("default",)
    assert service.calls["/certificate"] == 0


def _ended(path: Path) -> None:
    path.write_bytes(create_authority().ca_pem)


@pytest.mark.parametrize(
    ("write", "after"),
    [
        pytest.param(lambda path: None, timedelta(), id="h84_unreadable"),
        pytest.param(lambda path: path.mkdir(), timedelta(), id="h84_directory"),
        pytest.param(lambda path: path.write_bytes(b""), timedelta(), id="h84_empty"),
        pytest.param(lambda path: path.write_bytes(b"not PEM"), timedelta(), id="h84_not_pem"),
        pytest.param(lambda path: path.write_bytes(b"x" * (2 << 20)), timedelta(), id="h84_large"),
        pytest.param(_ended, timedelta(days=31), id="h84_expired"),
        pytest.param(_ended, timedelta(days=-1), id="h84_not_yet"),
    ],
)
async def test_a_pin_that_cannot_be_used_is_an_error_at_the_start(
    service: SampleService, tmp_path: Path, write: Callable[[Path], object], after: timedelta
) -> None:
    path = tmp_path / "ca.pem"
    write(path)
    verifier = Verifier(settings(service, pins=(str(path),)), 0, now=lambda: datetime.now(UTC) + after)
    with pytest.raises(HostError, match=r"trusted_certs_paths: .*/ca\.pem: \w") as caught:
        await verifier.start()
    assert caught.value.exit_code == 3


async def test_a_service_that_is_absent_at_the_start_refuses_every_peer_until_it_is_there(
    agent: SampleAgent, service: SampleService
) -> None:
    service.close()
    clock = Clock()
    verifier = Verifier(settings(service), 0, now=clock)
    await verifier.start()
    await verifier.prefetch()
    chain = await shown(agent)
    assert await refusal(verifier, chain) == Code.SERVICE_UNREACHABLE
    service.start()
    clock.forward(seconds=trust.FAILURE_AGE.total_seconds())
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)


async def test_a_new_ca_of_the_service_is_fetched_but_not_at_any_rate(
    agent: SampleAgent, service: SampleService
) -> None:
    clock = Clock()
    verifier = Verifier(settings(service), 0, now=clock)
    await verifier.start()
    await verifier.prefetch()
    service.authority = create_authority()
    chain = await shown(agent)
    assert await refusal(verifier, chain) == Code.TOKEN_UNTRUSTED
    assert service.calls["/certificate"] == 1
    clock.forward(seconds=trust.MIN_AGE.total_seconds())
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)
    assert service.calls["/certificate"] == 2


async def test_a_rogue_signer_does_not_multiply_calls(agent: SampleAgent, service: SampleService) -> None:
    """A passport under an unknown CA costs one call to ``/certificate`` in ten seconds and changes no trust."""
    clock = Clock()
    verifier = Verifier(settings(service, "passport"), 0, now=clock)
    await verifier.start()
    with SampleService() as rogue:
        for _ in range(5):
            clock.forward(seconds=3)
            assert await refusal(verifier, await shown(agent, rogue)) == Code.TOKEN_UNTRUSTED
    assert service.calls["/certificate"] <= 3
    assert (await verifier.verify(await shown(agent, service), SOURCE)).policy_ids == ("default",)


async def test_h64_a_hundred_clients_with_a_slow_service_make_one_request_for_each_certificate(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    service.change(delay=0.3)
    chains = [await shown(agent) for _ in range(3)]
    verdicts = []

    async def arrive(chain: tuple[bytes]) -> None:
        verdicts.append(await verifier.verify(chain, SOURCE))

    async with anyio.create_task_group() as group:
        for number in range(100):
            group.start_soon(arrive, chains[number % 3])
    assert len(verdicts) == 100
    assert service.calls["/attestation"] == 3


async def test_those_who_wait_share_a_refusal_and_the_next_asks_again(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    service.change(delay=0.2, affirming=False)
    chain = await shown(agent)
    codes = []

    async def arrive() -> None:
        codes.append(await refusal(verifier, chain))

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(arrive)
    assert codes == [Code.TOKEN_STATUS] * 10
    assert service.calls["/attestation"] == 1
    service.change(affirming=True, delay=0.0)
    assert (await verifier.verify(chain, SOURCE)).policy_ids == ("default",)


async def test_when_the_one_who_asks_gives_up_the_next_one_asks(
    agent: SampleAgent, service: SampleService, verifier: Verifier
) -> None:
    service.change(delay=0.3)
    chain = await shown(agent)
    verdicts = []

    async def patient() -> None:
        verdicts.append(await verifier.verify(chain, SOURCE))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as impatient:
            group.start_soon(_cancel_when, lambda: service.calls["/attestation"] == 1, impatient)
            group.start_soon(patient)
            await verifier.verify(chain, SOURCE)
        assert impatient.cancelled_caught
    assert len(verdicts) == 1
    assert service.calls["/attestation"] == 2


async def _cancel_when(reached: Callable[[], bool], scope: anyio.CancelScope) -> None:
    with anyio.fail_after(60):
        while not reached():  # noqa: ASYNC110 - the service counts in a thread, which has no event of this loop
            await anyio.sleep(0.01)
    scope.cancel()


async def test_h58_a_service_that_is_too_slow_is_a_refusal_within_the_deadline(
    agent: SampleAgent, service: SampleService
) -> None:
    verifier = Verifier(settings(service), 0, deadline=1)
    await verifier.start()
    service.change(delay=30)
    with anyio.fail_after(20):
        assert await refusal(verifier, await shown(agent)) == Code.SERVICE_DEADLINE
