"""A worker's side of the judge: who never answers, answers late, answers nonsense, dies and comes back."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from tng_runtime.attest.codes import Code
from tng_runtime.errors import Refused
from tng_runtime.messages import Certificate, Declined, Message, VerdictGiven, VerdictWanted
from tng_runtime.serve import channel
from tng_runtime.serve.channel import Channel
from tng_runtime.serve.judge import _certificate
from tng_runtime.serve.remote import JudgeLine, RemoteIdentity, RemoteVerifier
from tng_runtime.tunnel import credentials
from tng_runtime.tunnel.credentials import Credentials

SOURCE = "10.0.0.1"
pytestmark = pytest.mark.anyio

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class Judge:
    """The other end, played by the test."""

    def __init__(self, answer: Callable[[VerdictWanted], Message | None]) -> None:
        self.asked: list[VerdictWanted] = []
        self._answer = answer
        self.near, far = channel.pair()
        self.channel = Channel(far, self._told, lambda _: None)

    def _told(self, message: Message, _: tuple[int, ...]) -> None:
        assert isinstance(message, VerdictWanted)
        self.asked.append(message)
        if (answer := self._answer(message)) is not None:
            self.channel.send(answer)


def given(asked: VerdictWanted, kept: float = 60.0) -> VerdictGiven:
    return VerdictGiven(asked.ticket, NOW + timedelta(seconds=kept), None, ("default",))


@pytest.fixture(autouse=True)
async def channels(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Closes all channels that a test made."""
    made: list[Channel] = []
    init = Channel.__init__

    def remember(self: Channel, *arguments: Any) -> None:
        made.append(self)
        init(self, *arguments)

    monkeypatch.setattr(Channel, "__init__", remember)
    yield
    for each in made:
        each.close()


@pytest.fixture
async def line() -> JudgeLine:
    return JudgeLine(lambda *_: None, deadline=0.2)


@pytest.fixture
async def certificate() -> bytes:
    return (await credentials.throwaway(datetime.now(UTC))).certificate_der


async def test_a_verdict_is_asked_for_once_and_kept_until_it_ends(certificate: bytes) -> None:
    line, judge, clock = JudgeLine(lambda *_: None), Judge(given), [NOW]
    line.use(judge.near)
    verifier = RemoteVerifier(line, 3, now=lambda: clock[0])
    assert verifier.cached([certificate]) is None
    verdict = await verifier.verify([certificate], SOURCE)
    assert (judge.asked[0].entry, judge.asked[0].chain) == (3, (certificate,))
    assert verifier.cached([certificate]) == verdict
    clock[0] = NOW + timedelta(seconds=60)
    assert verifier.cached([certificate]) is None
    clock[0] = NOW - timedelta(seconds=1)
    assert verifier.cached([certificate]) is None, "a clock that was set back must not prolong it"


async def test_a_refusal_keeps_its_code(certificate: bytes) -> None:
    line = JudgeLine(lambda *_: None)
    judge = Judge(lambda asked: Declined(asked.ticket, "RA-TOKEN-TIME", "it has ended"))
    line.use(judge.near)
    with pytest.raises(Refused) as caught:
        await RemoteVerifier(line, 0).verify([certificate], SOURCE)
    assert (caught.value.code, caught.value.detail) == (Code.TOKEN_TIME, "it has ended")


@pytest.mark.parametrize(
    "answer",
    [
        lambda asked: None,
        lambda asked: Declined(asked.ticket, "RA-UNHEARD-OF", ""),
        lambda asked: given(VerdictWanted(asked.ticket + 1, 0, SOURCE, ())),
        lambda asked: Certificate(asked.ticket, 0, b"", b"", NOW),
    ],
    ids=["silence", "unknown_code", "other_ticket", "certificate"],
)
async def test_whatever_else_comes_refuses(
    line: JudgeLine, certificate: bytes, answer: Callable[[VerdictWanted], Message | None]
) -> None:
    judge = Judge(answer)
    line.use(judge.near)
    with pytest.raises(Refused) as caught:
        await RemoteVerifier(line, 0).verify([certificate], SOURCE)
    assert caught.value.code == Code.SELF_JUDGE


async def test_without_any_judge_it_is_refused_in_time(line: JudgeLine, certificate: bytes) -> None:
    with pytest.raises(Refused, match="no answer within"):
        await RemoteVerifier(line, 0).verify([certificate], SOURCE)


async def test_what_one_judge_left_open_the_next_is_asked(certificate: bytes) -> None:
    line, first, second = JudgeLine(lambda *_: None), Judge(lambda _: None), Judge(given)
    line.use(first.near)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(RemoteVerifier(line, 0).verify, [certificate], SOURCE)
        with anyio.fail_after(30):
            while not first.asked:  # noqa: ASYNC110 - the judge's handler is a plain function
                await anyio.sleep(0.001)
        first.channel.close()
        line.use(second.near)
    assert second.asked == first.asked


async def test_more_than_one_certificate_never_gets_to_the_judge(line: JudgeLine, certificate: bytes) -> None:
    with pytest.raises(Refused) as caught:
        await RemoteVerifier(line, 0).verify([certificate, certificate], SOURCE)
    assert caught.value.code == Code.CERT_CHAIN


async def test_certificates_are_shown_as_they_were_given_and_not_after_their_end() -> None:
    got: list[tuple[int, Credentials]] = []
    line = JudgeLine(lambda entry, made: got.append((entry, made)))
    near, far = channel.pair()
    line.use(near)
    made = await credentials.throwaway(datetime.now(UTC))
    judge = Channel(far, lambda *_: None, lambda _: None)
    judge.send(_certificate(0, 5, made))
    judge.send(Certificate(0, 6, b"", b"no key", NOW))
    judge.send(_certificate(0, 7, made))
    with anyio.fail_after(30):
        while len(got) < 2:  # noqa: ASYNC110 - the handler is a plain function
            await anyio.sleep(0.001)
    assert [entry for entry, _ in got] == [5, 7]
    shown = got[0][1]
    assert (shown.certificate_der, shown.not_after) == (made.certificate_der, made.not_after)
    assert shown.private_key.private_numbers() == made.private_key.private_numbers()
    ended = Credentials(shown.certificate_der, shown.private_key, NOW - timedelta(days=1000))
    for dated in (True, False):
        identity = RemoteIdentity(line, 5, each=False, dated=dated)
        with pytest.raises(Refused, match="no valid certificate"):
            await identity.for_handshake(SOURCE)
        identity.give(ended)
        if dated:
            with pytest.raises(Refused, match="no valid certificate"):
                await identity.for_handshake(SOURCE)
        else:
            assert await identity.for_handshake(SOURCE) is ended


async def test_sockets_are_not_left_open(certificate: bytes) -> None:
    line, judge = JudgeLine(lambda *_: None), Judge(given)
    line.use(judge.near)
    judge.channel.close()
    with anyio.fail_after(30):
        while line._channel is not None:  # noqa: ASYNC110 - its end is told to a plain function
            await anyio.sleep(0.001)
    assert isinstance(judge.near, socket.socket)
    assert judge.near.fileno() == -1
