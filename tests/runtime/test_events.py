"""Events become counts, each of them, and lines, not more than one a second for one source and reason."""

from __future__ import annotations

import json

import anyio
import pytest

from tng_runtime import events as module
from tng_runtime import log
from tng_runtime.counts import Counts, EntryCounts
from tng_runtime.errors import LinkCode
from tng_runtime.events import Access, Closed, Events, Left, LimitLeft, LimitReached, Opened, Refusal, Who

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": True}


def refusal(source: str = "10.0.0.1", port: int = 1, code: LinkCode = LinkCode.TLS_BROKEN) -> Refusal:
    return Refusal(Who("/add_egress/0", f"{source}:{port}", "10.0.0.2:80", source), code, "for a reason")


class Lines:
    """What was logged, as it comes."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        log.configure("json", "info")
        self._capsys = capsys
        self._got: list[dict[str, object]] = []

    def now(self) -> list[dict[str, object]]:
        self._got += [json.loads(line) for line in self._capsys.readouterr().err.splitlines()]
        return self._got

    async def count(self, wanted: int) -> list[dict[str, object]]:
        with anyio.fail_after(20):
            while len(self.now()) < wanted:  # noqa: ASYNC110 - a log line is no event
                await anyio.sleep(0.01)
        return self._got


async def test_repeated_refusals_of_one_source_are_summed_and_all_of_them_count(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, counts = Lines(capsys), Counts()
    events = Events(counts)
    for port in range(400):
        events.tell(refusal(port=port))
    assert [line["src"] for line in lines.now()] == ["10.0.0.1:0"]
    first, second = await lines.count(2)
    assert "times" not in first
    assert (second["times"], second["src"], second["code"]) == (399, "10.0.0.1:399", "TLS-BROKEN")
    assert counts.refused == {"TLS-BROKEN": 400}
    events.close()
    assert len(lines.now()) == 2


async def test_at_debug_every_refusal_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    lines, events = Lines(capsys), Events(Counts())
    log.configure("json", "debug")
    for port in range(5):
        events.tell(refusal(port=port))
    assert [line["src"] for line in lines.now()] == [f"10.0.0.1:{port}" for port in range(5)]
    assert not events._sums


async def test_another_source_or_reason_is_said_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines, events = Lines(capsys), Events(Counts())
    for one in (refusal(), refusal("10.0.0.3"), refusal(code=LinkCode.TLS_ALPN)):
        events.tell(one)
    assert len(lines.now()) == 3
    events.close()


async def test_who_comes_back_later_is_said_at_once_again(capsys: pytest.CaptureFixture[str]) -> None:
    lines, events = Lines(capsys), Events(Counts())
    events.tell(refusal())
    with anyio.fail_after(20):
        while events._sums:  # noqa: ASYNC110 - a timer of the loop
            await anyio.sleep(0.05)
    events.tell(refusal(port=2))
    assert [line["src"] for line in lines.now()] == ["10.0.0.1:1", "10.0.0.1:2"]
    events.close()


async def test_an_end_loses_no_sum(capsys: pytest.CaptureFixture[str]) -> None:
    lines, events = Lines(capsys), Events(Counts())
    for port in range(5):
        events.tell(refusal(port=port))
    events.close()
    assert [line.get("times") for line in lines.now()] == [None, 4]
    assert not events._sums


async def test_many_sources_are_held_in_bounded_memory(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_SUMS", 10)
    lines, counts = Lines(capsys), Counts()
    events = Events(counts)
    for number in range(100):
        events.tell(refusal(f"10.0.1.{number}"))
    assert len(events._sums) == 11
    events.close()
    assert [line.get("times") for line in lines.now()] == [None] * 11 + [89]
    assert counts.refused.total() == 100


async def test_limits_and_clients_that_left_have_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    lines, counts = Lines(capsys), Counts()
    events = Events(counts)
    events.tell(LimitReached("connections", 7, "raise it"))
    events.tell(LimitLeft("connections", 3))
    events.tell(Left(Who("/add_egress/0", None, None, "")))
    assert [line["event"] for line in lines.now()] == ["connections_at_limit", "connections_below_limit"]
    assert counts == Counts({"/add_egress/0": EntryCounts(left=1)})


def opened(heard: int = 6) -> Opened:
    who = Who("/add_ingress/0", "10.0.0.1:1", "10.0.0.2:80", "10.0.0.2")
    return Opened(
        who, "ingress", "10.0.0.1:77", 0.02, ("default",), lambda: "ab12", "X25519", "AES", lambda: (5, heard)
    )


async def test_a_connection_counts_from_its_opening_to_its_end_and_has_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines, counts = Lines(capsys), Counts()
    events, one, other = Events(counts), opened(), opened()
    events.tell(one)
    events.tell(other)
    assert events.bytes_open() == {"/add_ingress/0": (10, 12)}
    events.tell(Closed(one, "plain_eof"))
    of = counts.of("/add_ingress/0")
    assert (of.opened, of.open, of.sent, of.received, of.ended) == (2, 1, 5, 6, {"plain_eof": 1})
    events.tell(Refusal(other.who, LinkCode.TLS_FLOOD, "too much", other))
    assert (of.open, of.sent, events.open) == (0, 10, set())
    (line, _) = lines.now()
    assert {name: line[name] for name in line if name not in ("time", "duration")} == {
        "level": "info",
        "event": "closed",
        "entry": "/add_ingress/0",
        "src": "10.0.0.1:1",
        "dst": "10.0.0.2:80",
        "direction": "outbound",
        "leg": "10.0.0.1:77",
        "bytes_sent": 5,
        "bytes_received": 6,
        "verdict": "default",
        "peer": "ab12",
        "group": "X25519",
        "cipher": "AES",
        "ending": "plain_eof",
    }
    events.close()


@pytest.mark.parametrize(
    ("reason", "heard", "advice"),
    [("tlsv1 alert bad certificate", 6, "refused this side"), (None, 0, "may have refused"), (None, 6, "")],
)
async def test_the_line_of_a_broken_tls_side_says_that_the_peer_refused(
    capsys: pytest.CaptureFixture[str], reason: str | None, heard: int, advice: str
) -> None:
    lines, events, one = Lines(capsys), Events(Counts()), opened(heard)
    events.tell(one)
    events.tell(Closed(one, "tls_broken", reason))
    (line,) = lines.now()
    assert line.get("reason") == reason
    assert advice in str(line.get("advice", ""))
    assert bool(advice) == ("advice" in line)


@pytest.mark.parametrize(
    ("access", "closed", "refused"),
    [(Access("all"), 10, 1), (Access("refused"), 0, 1), (Access("none"), 0, 0), (Access("all", 4), 3 + 1, 1)],
    ids=str,
)
async def test_lines_are_what_the_operator_wants_and_counts_are_complete(
    capsys: pytest.CaptureFixture[str], access: Access, closed: int, refused: int
) -> None:
    """Of a sample what ended in order is one of N, and what broke is always said."""
    lines, counts = Lines(capsys), Counts()
    events = Events(counts, access)
    endings = ["plain_eof"] * 9 + ["tls_broken"]
    for ending in endings:
        one = opened()
        events.tell(one)
        events.tell(Closed(one, ending))
    events.tell(refusal())
    events.close()
    said = [line["event"] for line in lines.now()]
    assert (said.count("closed"), said.count("refused")) == (closed, refused)
    assert counts.of("/add_ingress/0").ended == {"plain_eof": 9, "tls_broken": 1}
    assert counts.refused == {"TLS-BROKEN": 1}
    if access.one_of > 1:
        assert [line.get("one_of") for line in lines.now() if line["event"] == "closed"] == [4, 4, 4, None]
