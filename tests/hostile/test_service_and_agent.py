"""The service's word (33 to 38), a service and an agent that misbehave (58 to 64), and what a session owes to both."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hostile import service as services
from hostile import stage as stages
from hostile import tls13
from hostile.conftest import Scene
from hostile.service import Answer
from hostile.stage import BACKGROUND, FRESH, HONEST, SHORT_LIVED, UNPINNED, Outcome, Stage
from hostile.tls13 import Shown
from runtime.attest import makers
from runtime.attest.makers import Authority, ear, ec_key
from tng_demo import sample_agent
from tng_demo.sample_agent import Behaviour
from tng_demo.sample_appraisal import BadRequestError
from tng_demo.sample_authority import Authority as SampleAuthority
from tng_demo.sample_service import SampleService
from tng_runtime.attest import cbor, evidence

pytestmark = pytest.mark.netns

OTHER = ec_key("other")
ROGUE = Authority(key=ec_key("rogue signer"), root_key=ec_key("rogue root"))
AGENT_DEADLINE = 20.0


def appraising(stage: Stage, affirming: bool = True) -> Answer:
    """The sample service's own appraisal, signed under the pinned CA."""
    signing = SampleAuthority(HONEST.root, HONEST.leaf(), ec_key("signer"))
    sample = SampleService(signing=signing)
    sample.change(affirming=affirming)

    def answer() -> Iterator[bytes]:
        try:
            yield from services.text(sample.attest(json.loads(stage.service.asked)))()
        except BadRequestError as error:
            yield from services.text(json.dumps({"detail": str(error)}), "400 Bad Request")()

    return answer


def reporting(key: makers.PrivateKey, reported: bytes, tee: str = "sample", *, has_report: bool = True) -> Shown:
    """A peer with its own key in the runtime data, whose sample evidence reports these bytes."""
    behaviour = Behaviour.HONEST if has_report else Behaviour.NO_REPORT_DATA
    fields = {
        **makers.honest_fields(key),
        "tee_type": cbor.text(tee),
        "aa_evidence": cbor.byte_string(sample_agent.evidence(reported, behaviour)),
    }
    return Shown([makers.peer_certificate(makers.evidence_value(cbor.text_map(fields)), key)], key)


def report(key: makers.PrivateKey) -> bytes:
    """The report data that belongs to a key."""
    return evidence.report_data(evidence.runtime_data(makers.spki_digest(key)))


WORDS: list[tuple[str, Shown, bool, str]] = [
    ("h33_report_data_of_other_bytes", reporting(ec_key(), bytes(48)), True, "RA-SERVICE-STATUS"),
    ("h34_evidence_of_an_honest_peer_under_ones_own_key", reporting(OTHER, report(ec_key())), True,
     "RA-SERVICE-STATUS"),
    ("h35_the_name_of_the_tee_changed", reporting(ec_key(), report(ec_key()), "tdx"), True, "RA-SERVICE-STATUS"),
    ("h36_sample_evidence_that_is_not_affirmed", reporting(ec_key(), report(ec_key())), False, "RA-TOKEN-STATUS"),
    ("h38_sample_evidence_without_report_data", reporting(ec_key(), b"", has_report=False), True,
     "RA-SERVICE-STATUS"),
]  # fmt: skip


def test_the_sample_service_affirms_the_honest_peer(scene: Scene) -> None:
    """The control of the cases below."""
    scene.stage.service.attestation = appraising(scene.stage)
    scene.stage.open(BACKGROUND, reporting(ec_key(), report(ec_key()))).close()
    scene.stage.proved += 1


@pytest.mark.parametrize(("shown", "affirming", "code"), [pytest.param(*case[1:], id=case[0]) for case in WORDS])
def test_the_service_says_no(scene: Scene, shown: Shown, affirming: bool, code: str) -> None:
    """Background check: the program takes the service's word."""
    scene.stage.service.attestation = appraising(scene.stage, affirming)
    scene.refuses(BACKGROUND, shown, code)


def endless() -> Iterator[bytes]:
    """1 GB, if anybody takes it."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
    for _ in range(1024):
        yield bytes(1 << 20)


def endless_chunks() -> Iterator[bytes]:
    """A body whose length nobody knows."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(1024):
        yield b"100000\r\n" + bytes(1 << 20) + b"\r\n"


def endless_header() -> Iterator[bytes]:
    """A header without an end."""
    yield b"HTTP/1.1 200 OK\r\n"
    for number in itertools.count():
        yield b"X-%d: " % number + b"a" * 60000 + b"\r\n"


ANSWERS: list[tuple[str, Answer, tuple[str, ...]]] = [
    ("h58_html", services.text("<html>log in</html>"), ("RA-SERVICE-ANSWER",)),
    ("h58_an_empty_body", services.text(""), ("RA-SERVICE-ANSWER",)),
    ("h58_a_redirect", services.raw(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9082/\r\n\r\n"),
     ("RA-SERVICE-STATUS",)),
    ("h58_500", services.text("no", "500 No"), ("RA-SERVICE-STATUS",)),
    ("h58_201_with_an_honest_token", services.text(stages.honest_token(), "201 Created"), ("RA-SERVICE-STATUS",)),
    ("h58_not_http", services.raw(b"SSH-2.0-OpenSSH_9.2\r\n"), ("RA-SERVICE-ANSWER",)),
    ("h58_an_end_at_once", services.raw(), ("RA-SERVICE-ANSWER", "RA-SERVICE-UNREACHABLE")),
    ("h58_half_a_body", services.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf"),
     ("RA-SERVICE-ANSWER", "RA-SERVICE-UNREACHABLE")),
    ("h58_1_gb", endless, ("RA-SERVICE-SIZE",)),
    ("h58_1_gb_in_chunks", endless_chunks, ("RA-SERVICE-SIZE",)),
    ("h58_a_header_without_an_end", endless_header, ("RA-SERVICE-ANSWER", "RA-SERVICE-SIZE")),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "codes"), [pytest.param(*case[1:], id=case[0]) for case in ANSWERS])
def test_an_odd_answer_is_refused(scene: Scene, answer: Answer, codes: tuple[str, ...]) -> None:
    """In bounded memory."""
    scene.stage.service.attestation = answer
    memory = scene.stage.memory()
    scene.refuses(BACKGROUND, stages.honest(), *codes)
    assert scene.stage.memory() < memory + (8 << 20)


def test_59_a_kept_verdict_outlives_the_service_but_not_its_token(scene: Scene) -> None:
    """With the service gone, who was verified passes until the token ends; anybody else is refused."""
    stage = scene.stage
    soon = datetime.now(UTC) + timedelta(seconds=3)
    known, ending = stages.honest(), stages.honest()
    stage.service.attestation = services.text(stages.honest_token())
    stage.open(BACKGROUND, known).close()
    stage.service.attestation = services.text(HONEST.token(ear(exp=int(soon.timestamp()))))
    stage.open(BACKGROUND, ending).close()
    stage.service.attestation = services.raw()
    stage.open(BACKGROUND, ending).close()
    scene.refuses(BACKGROUND, stages.honest(), "RA-SERVICE-ANSWER", "RA-SERVICE-UNREACHABLE")
    stages.until(lambda: datetime.now(UTC) > soon, "the clock stands still")
    scene.refuses(BACKGROUND, ending, "RA-SERVICE-ANSWER", "RA-SERVICE-UNREACHABLE")
    stage.open(BACKGROUND, known).close()
    stage.proved += 4


def test_60_a_pin_is_exclusive(scene: Scene) -> None:
    """``/certificate`` offers a rogue's CA: nobody asks for it, and the rogue's token is refused."""
    stage = scene.stage
    stage.service.certificate = services.text(ROGUE.pem.decode())
    stage.service.attestation = services.text(ROGUE.token(ear()))
    scene.refuses(BACKGROUND, stages.honest(), "RA-TOKEN-UNTRUSTED")
    assert stage.service.calls["/certificate"] == 0


def test_64_clients_with_one_certificate_cause_one_request(scene: Scene) -> None:
    """They all arrive while the service thinks, and all are served when it has."""
    stage, answer = scene.stage, threading.Event()
    count, calls = 100, stage.service.calls["/attestation"]

    def thinking() -> Iterator[bytes]:
        answer.wait(stages.PATIENCE)
        yield from services.text(stages.honest_token())()

    stage.service.attestation = thinking
    shown = stages.honest()
    with contextlib.ExitStack() as stack:
        # A server's handshake ends with the verdict.
        servers = stack.enter_context(ThreadPoolExecutor(count))
        shaking: list[Future[tls13.Tls]] = []
        for _ in range(count):
            app = stack.enter_context(stage.connect(BACKGROUND))
            if stage.side == "ingress":
                app.sendall(b"x")
                peer = stack.enter_context(stage.accept(BACKGROUND))
                shaking.append(servers.submit(tls13.server, peer, shown))
            else:
                tls13.client(app, shown).send(tls13.APPLICATION, b"x")
        stage.nothing_dialled()
        assert not any(each.done() for each in shaking)
        answer.set()
        for tls in shaking:
            assert tls.result(stages.PATIENCE).application() == b"x"
        for _ in range(count if stage.side == "egress" else 0):
            assert stack.enter_context(stage.accept(BACKGROUND)).recv(1) == b"x"
        assert stage.service.calls["/attestation"] == calls + 1
    stage.proved += count


AGENTS = [
    ("h62_another_stream_id", Behaviour.OTHER_STREAM, "RA-AGENT-FRAME"),
    ("h62_a_frame_of_type_3", Behaviour.DATA_FRAME, "RA-AGENT-FRAME"),
    ("h62_more_than_4_mib", Behaviour.OVERSIZED, "RA-AGENT-FRAME"),
    ("h62_an_error_status", Behaviour.ERROR, "RA-AGENT-STATUS"),
    ("h62_an_end_at_once", Behaviour.CLOSES, "RA-AGENT-FRAME"),
]


def wants_a_certificate(side: stages.Side) -> Callable[[socket.socket], tls13.Tls]:
    """A peer that shakes hands as far as it gets: the certificate of a FRESH entry is made for who asks for it."""
    if side == "ingress":
        return lambda sock: tls13.server(sock, stages.honest(), ask=True)
    return lambda sock: tls13.client(sock, None)


def hears_nothing(sock: socket.socket) -> None:
    """A peer that waits for the program to say something."""
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


@pytest.mark.parametrize(("behaviour", "code"), [pytest.param(*case[1:], id=case[0]) for case in AGENTS])
def test_an_odd_agent_costs_the_connection_only(scene: Scene, behaviour: Behaviour, code: str) -> None:
    """The entry asks the agent for each handshake."""
    scene.stage.agent.behaviour = behaviour
    try:
        scene.stage.refused(scene.stage.hostile(FRESH, wants_a_certificate(scene.stage.side)), code)
    finally:
        scene.stage.agent.behaviour = Behaviour.HONEST
    scene.held.ping()


def test_63_an_agent_that_went_away_is_used_again_when_it_is_back(scene: Scene) -> None:
    """Without a restart of anything."""
    stage = scene.stage
    stage.agent.close()
    try:
        stage.refused(stage.hostile(FRESH, wants_a_certificate(stage.side)), "RA-AGENT-UNREACHABLE")
    finally:
        stage.agent.start()
    stage.open(FRESH, stages.honest()).close()
    stage.proved += 1


def test_63_an_expired_certificate_is_never_shown(tmp_path: Path) -> None:
    """A passport whose token ends while the service is away; when it is back, so is the certificate."""
    lifetime = 4
    token = HONEST.token(ear(exp=int(datetime.now(UTC).timestamp()) + lifetime))
    with stages.stage("egress", tmp_path, ports=[SHORT_LIVED], token=token) as stage:
        stage.service.attestation = services.raw()
        with stage.connect(SHORT_LIVED) as app:
            tls13.client(app, None)
            stage.accept(SHORT_LIVED).close()
        stage.log.wait(lambda line: line["event"] == "certificate_expired")
        stage.refused(stage.hostile(SHORT_LIVED, hears_nothing), "RA-SELF-EXPIRED")
        stage.service.attestation = services.text(stages.honest_token())
        lines = len(stage.log.read())
        stage.log.wait(lambda _: any(line["event"] == "certificate_ready" for line in stage.log.lines[lines:]))
        with stage.connect(SHORT_LIVED) as app:
            tls13.client(app, None)
            stage.accept(SHORT_LIVED).close()


def test_58_61_62_what_only_a_deadline_ends(tmp_path: Path) -> None:
    """A silent service, one that drips and a silent agent, at the same time; proxies in the environment change nothing.

    Every variable that names a proxy is set, and a server stands there: nobody comes.
    """
    names = ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    env = {**dict.fromkeys(names, "http://127.0.0.1:9098"), "no_proxy": "", "NO_PROXY": ""}
    outcomes: dict[str, Outcome] = {}
    with contextlib.ExitStack() as stack:
        stage = stack.enter_context(stages.stage("egress", tmp_path, env=env))
        with stage.near.inside():
            lure = stack.enter_context(services.Service(("127.0.0.1", 9098), HONEST.pem))

        def dripping() -> Iterator[bytes]:
            yield b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n"
            while not stage.second.ended.wait(0.5):
                yield b"e"

        def silent() -> Iterator[bytes]:
            stage.service.ended.wait()
            yield b""

        stage.service.attestation, stage.second.attestation = silent, dripping
        stage.agent.behaviour = Behaviour.HALF_FRAME

        def shows(sock: socket.socket) -> tls13.Tls:
            return tls13.client(sock, stages.honest())

        def play(code: str, port: int, how: Callable[[socket.socket], tls13.Tls | None]) -> None:
            outcomes[code] = stage.hostile(port, how, patience=2 * AGENT_DEADLINE)

        plays = [
            ("RA-SERVICE-DEADLINE of a silent one", BACKGROUND, shows),
            ("RA-SERVICE-DEADLINE of one that drips", UNPINNED, shows),
            ("RA-AGENT-DEADLINE after half a frame", FRESH, wants_a_certificate("egress")),
            ("RA-AGENT-DEADLINE of a silent one", FRESH, wants_a_certificate("egress")),
        ]
        threads = [threading.Thread(target=play, args=item) for item in plays]
        asked = len(stage.agent.calls)
        for thread in threads[:-1]:
            thread.start()
        stages.until(lambda: len(stage.agent.calls) > asked, "the agent was not asked")
        stages.until(lambda: stage.second.calls["/attestation"] == 1, "the service was not asked")
        stage.agent.behaviour = Behaviour.SILENT
        threads[-1].start()
        for thread in threads:
            thread.join(3 * AGENT_DEADLINE)
        for name, outcome in outcomes.items():
            stage.refused(outcome, name.split()[0])
        assert len(outcomes) == len(plays)
        assert (stage.service.calls["/attestation"], stage.second.calls["/attestation"]) == (1, 1)
        assert lure.peers == [], "the proxy of the environment was used"
