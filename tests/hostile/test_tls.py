"""TLS of the catalogue (1 to 15), and what depends on its order (76, 86, 87).

The peers shake hands as no library would. Each case is data: the peer, the port that it plays
against, and the codes that may end it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hostile import service as services
from hostile import stage as stages
from hostile import tls13
from hostile.conftest import Scene
from hostile.stage import BACKGROUND, MUTUAL, NO_RA, PASSPORT, UNPINNED, Outcome
from hostile.tls13 import Shown, Tls
from runtime.attest import makers
from runtime.attest.makers import ec_key
from tng_runtime.attest import cbor

pytestmark = pytest.mark.netns

OTHER = ec_key("other")
DEADLINE = 10.0
Play = Callable[[socket.socket], Tls | None]


def throwaway() -> Shown:
    """What a side without evidence shows."""
    return Shown([makers.peer_certificate(None)], ec_key())


def without_the_key() -> Shown:
    """An honest certificate, signed for with another key."""
    return Shown(stages.honest().chain, OTHER)


def says(*data: bytes) -> Play:
    """A peer that says this, and no TLS."""

    def play(sock: socket.socket) -> None:
        for item in data:
            sock.sendall(item)
        sock.shutdown(socket.SHUT_WR)

    return play


def old_server(sock: socket.socket) -> Tls:
    """A server that answers in TLS 1.2."""
    tls = Tls(sock)
    tls.message(tls13.CLIENT_HELLO)
    tls.say(tls13.SERVER_HELLO, b"\x03\x03" + os.urandom(32) + b"\0\xc0\x2b\0\0\0")
    return tls


def junk_after_the_hello(sock: socket.socket) -> Tls:
    """A client whose hello is good and is followed by 16 MB."""
    tls = Tls(sock)
    tls.say(tls13.CLIENT_HELLO, tls13.client_hello(tls.share))
    sock.sendall(bytes(16 << 20))
    return tls


def unfinished_message(sock: socket.socket) -> Tls:
    """A client whose hello claims 16 MB and goes on and on."""
    tls = Tls(sock)
    for _ in range(1024):
        sock.sendall(b"\x16\x03\x01\x40\x00" + b"\x01\xff\xff\xff" + bytes((1 << 14) - 4))
    return tls


def sized(size: int) -> Shown:
    """Honest but for its size: evidence of ``size`` bytes."""
    return Shown([makers.peer_certificate(makers.fields_value(aa_evidence=cbor.byte_string(bytes(size))))], ec_key())


INGRESS: list[tuple[str, int, Play, tuple[str, ...]]] = [
    ("h01_a_server_of_tls_1_2", BACKGROUND, old_server, ("TLS-VERSION",)),
    ("h02_a_server_without_alpn", BACKGROUND, lambda sock: tls13.server(sock, stages.honest(), alpn=None),
     ("TLS-ALPN",)),
    ("h02_a_server_of_another_protocol", BACKGROUND, lambda sock: tls13.server(sock, stages.honest(), alpn=b"h2"),
     ("TLS-ALPN", "TLS-HANDSHAKE")),
    ("h04_without_the_key", BACKGROUND, lambda sock: tls13.server(sock, without_the_key()), ("TLS-HANDSHAKE",)),
    ("h04_without_the_key_in_passport", PASSPORT,
     lambda sock: tls13.server(sock, Shown(stages.passport(stages.honest_token()).chain, OTHER)), ("TLS-HANDSHAKE",)),
    ("h06_plaintext", BACKGROUND, says(b"SSH-2.0-OpenSSH_9.2\r\n"), ("TLS-PLAINTEXT",)),
    ("h06_plaintext_http", BACKGROUND, says(b"HTTP/1.1 200 OK\r\n\r\n" * 9), ("TLS-PLAINTEXT",)),
    ("h06_an_end_at_once", BACKGROUND, says(), ("TLS-BROKEN",)),
    ("h08_16_mb_of_junk", BACKGROUND, lambda sock: tls13.server(sock, stages.honest(), junk=16 << 20),
     ("TLS-HANDSHAKE",)),
    ("h13_a_certificate_message_above_the_cap", BACKGROUND, lambda sock: tls13.server(sock, sized(1_100_000)),
     ("TLS-CERT-SIZE",)),
    ("h13_no_certificate_at_all", BACKGROUND, lambda sock: tls13.server(sock, Shown([], ec_key())),
     ("TLS-HANDSHAKE",)),
    ("h86_a_no_ra_server", BACKGROUND, lambda sock: tls13.server(sock, throwaway()), ("RA-CERT-NO-EVIDENCE",)),
    ("h86_a_no_ra_server_in_passport", PASSPORT, lambda sock: tls13.server(sock, throwaway()),
     ("RA-CERT-NO-EVIDENCE",)),
    ("h86_a_no_ra_server_of_a_mutual_entry", MUTUAL, lambda sock: tls13.server(sock, throwaway(), ask=True),
     ("RA-CERT-NO-EVIDENCE",)),
    ("h87_no_evidence_while_the_client_sends_100_kb", BACKGROUND, lambda sock: tls13.server(sock, throwaway()),
     ("RA-CERT-NO-EVIDENCE",)),
]  # fmt: skip
EGRESS: list[tuple[str, int, Play, tuple[str, ...]]] = [
    ("h01_a_client_of_tls_1_2", BACKGROUND, lambda sock: tls13.client(sock, None, versions=(0x0303,)),
     ("TLS-VERSION",)),
    ("h01_a_client_without_versions", BACKGROUND, lambda sock: tls13.client(sock, None, versions=()),
     ("TLS-VERSION",)),
    ("h02_a_client_without_alpn", BACKGROUND, lambda sock: tls13.client(sock, stages.honest(), alpn=()),
     ("TLS-ALPN",)),
    ("h02_a_client_of_http_1_1", BACKGROUND, lambda sock: tls13.client(sock, stages.honest(), alpn=(b"http/1.1",)),
     ("TLS-ALPN",)),
    ("h03_a_client_of_h2", BACKGROUND, lambda sock: tls13.client(sock, stages.honest(), alpn=(b"h2",)),
     ("TLS-ALPN",)),
    ("h04_without_the_key", BACKGROUND, lambda sock: tls13.client(sock, without_the_key()), ("TLS-HANDSHAKE",)),
    ("h05_no_certificate_to_a_reverse_entry", BACKGROUND, lambda sock: tls13.client(sock, None),
     ("TLS-NO-CERTIFICATE",)),
    ("h05_no_certificate_to_a_mutual_entry", MUTUAL, lambda sock: tls13.client(sock, None), ("TLS-NO-CERTIFICATE",)),
    ("h05_no_certificate_to_a_passport_entry", PASSPORT, lambda sock: tls13.client(sock, None),
     ("TLS-NO-CERTIFICATE",)),
    ("h06_plaintext_http", BACKGROUND, says(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), ("TLS-PLAINTEXT",)),
    ("h06_plaintext", BACKGROUND, says(b"SSH-2.0-OpenSSH_9.2\r\n"), ("TLS-PLAINTEXT",)),
    ("h06_plaintext_to_a_no_ra_entry", NO_RA, says(b"POST / HTTP/1.1\r\n\r\n" + bytes(99999)), ("TLS-PLAINTEXT",)),
    ("h06_an_end_at_once", BACKGROUND, says(), ("TLS-BROKEN",)),
    ("h08_16_mb_of_junk", BACKGROUND, junk_after_the_hello, ("TLS-HANDSHAKE", "TLS-PLAINTEXT")),
    ("h08_a_hello_of_16_mb", BACKGROUND, unfinished_message, ("TLS-HANDSHAKE", "TLS-PLAINTEXT", "TLS-CERT-SIZE")),
    ("h13_a_certificate_message_above_the_cap", BACKGROUND, lambda sock: tls13.client(sock, sized(1_100_000)),
     ("TLS-CERT-SIZE",)),
    ("h86_a_no_ra_client", BACKGROUND, lambda sock: tls13.client(sock, throwaway()), ("RA-CERT-NO-EVIDENCE",)),
    ("h86_a_no_ra_client_in_passport", PASSPORT, lambda sock: tls13.client(sock, throwaway()),
     ("RA-CERT-NO-EVIDENCE",)),
    ("h86_a_no_ra_client_of_a_mutual_entry", MUTUAL, lambda sock: tls13.client(sock, throwaway()),
     ("RA-CERT-NO-EVIDENCE",)),
]  # fmt: skip


def cases(found: list[tuple[str, int, Play, tuple[str, ...]]]) -> list[object]:
    """Each under its id."""
    return [pytest.param(*case[1:], id=case[0]) for case in found]


@pytest.mark.parametrize("scene", stages.INGRESS, indirect=True)
@pytest.mark.parametrize(("port", "play", "codes"), cases(INGRESS))
def test_a_server_is_refused(scene: Scene, port: int, play: Play, codes: tuple[str, ...]) -> None:
    """With its code, in bounded memory, and nobody else notices."""
    refuses_in_bounded_memory(scene, port, play, codes)


@pytest.mark.parametrize("scene", stages.EGRESS, indirect=True)
@pytest.mark.parametrize(("port", "play", "codes"), cases(EGRESS))
def test_a_client_is_refused(scene: Scene, port: int, play: Play, codes: tuple[str, ...]) -> None:
    """With its code, in bounded memory, and nobody else notices."""
    refuses_in_bounded_memory(scene, port, play, codes)


def refuses_in_bounded_memory(scene: Scene, port: int, play: Play, codes: tuple[str, ...]) -> None:
    """Play it against the stage."""
    memory = scene.stage.memory()
    scene.stage.refused(scene.stage.hostile(port, play), *codes)
    scene.held.ping()
    assert scene.stage.memory() < memory + (8 << 20)


@pytest.mark.parametrize("scene", stages.EGRESS, indirect=True)
def test_09_tickets_and_early_data_lead_to_a_full_handshake_and_a_verification(scene: Scene) -> None:
    """A PSK that the program never gave out, with early data under it; ``tls13.client`` sees that neither is taken."""
    ticket = tls13.vector(2, tls13.vector(2, os.urandom(64)) + bytes(4)) + tls13.vector(2, tls13.vector(1, bytes(32)))
    offer = tls13.extension(45, b"\x01\x01") + tls13.extension(42, b"") + tls13.extension(41, ticket)
    calls = scene.stage.service.calls["/attestation"]
    with scene.stage.connect(BACKGROUND) as app:
        tls = tls13.client(app, stages.honest(), extra=offer, early=b"\x17\x03\x03\x01\x00" + os.urandom(256))
        tls.send(tls13.APPLICATION, b"after the verification")
        with scene.stage.accept(BACKGROUND) as backend:
            assert backend.recv(100) == b"after the verification"
    scene.stage.proved += 1
    assert scene.stage.service.calls["/attestation"] == calls + 1


@pytest.mark.parametrize("scene", stages.EGRESS, indirect=True)
def test_09_no_ticket_is_given_out(scene: Scene) -> None:
    """Nothing but the application's bytes follows the handshake."""
    with scene.stage.connect(NO_RA) as app:
        tls = tls13.client(app, None)
        with scene.stage.accept(NO_RA) as backend:
            backend.sendall(b"first")
            assert tls.record() == (tls13.APPLICATION, b"first")
    scene.stage.proved += 1


@pytest.mark.parametrize("scene", stages.INGRESS, indirect=True)
def test_10_a_ticket_is_never_used(scene: Scene) -> None:
    """A server that gives tickets is met with a full handshake again."""
    body = bytes(8) + tls13.vector(1, b"n") + tls13.vector(2, os.urandom(64)) + tls13.vector(2, b"")
    shown = stages.honest()
    for _ in range(2):
        held = scene.stage.open(BACKGROUND, shown)
        assert not {41, 42} & set(held.tls.offered), "a PSK or early data is offered"
        held.tls.send(tls13.HANDSHAKE, b"\x04" + tls13.vector(3, (3600).to_bytes(4) + body[4:]))
        held.ping()
        held.close()


def _empty_records(tls: Tls) -> None:
    for _ in range(50_000):
        tls.send(tls13.APPLICATION, b"")


def _key_updates(tls: Tls) -> None:
    for _ in range(50_000):
        tls.update_key()


@pytest.mark.parametrize("flood", [_empty_records, _key_updates], ids=["empty_records", "key_updates"])
def test_11_a_flood_is_cut_off_and_costs_little(scene: Scene, flood: Callable[[Tls], None]) -> None:
    """By a peer that was verified: no reason to spend processor time on it."""
    held = scene.stage.open(BACKGROUND, stages.honest())
    scene.stage.proved += 1
    before, memory = scene.stage.processor(), scene.stage.memory()
    with pytest.raises(ConnectionError):
        flood(held.tls)
    held.plain.settimeout(stages.PATIENCE)
    with pytest.raises(ConnectionResetError):
        held.plain.recv(100)
    assert scene.stage.processor() - before < 0.5
    assert scene.stage.memory() < memory + (8 << 20)
    scene.held.ping()
    held.close()


def test_12_an_end_without_close_notify_is_a_reset_to_the_application(scene: Scene) -> None:
    """It was cut, by an attacker for all anybody knows."""
    held = scene.stage.open(BACKGROUND, stages.honest())
    scene.stage.proved += 1
    held.tls.sock.shutdown(socket.SHUT_WR)
    with pytest.raises(ConnectionResetError):
        held.plain.recv(100)
    held.close()
    scene.held.ping()


@pytest.mark.parametrize("size", [48_000, 95_000, 120_000, 1_000_000])
def test_13_a_large_certificate_is_accepted_up_to_the_cap(scene: Scene, size: int) -> None:
    """Evidence of more than 64 KB exists."""
    scene.stage.open(BACKGROUND, sized(size)).close()
    scene.stage.proved += 1


def test_15_another_key_is_verified_anew_while_a_verdict_is_kept(scene: Scene) -> None:
    """The verdict belongs to the certificate, not to the address."""
    calls = scene.stage.service.calls
    known, before = stages.honest(), calls["/attestation"]
    for _ in range(3):
        scene.stage.open(BACKGROUND, known).close()
        scene.stage.proved += 1
    assert calls["/attestation"] == before + 1
    value = makers.evidence_value(cbor.text_map(makers.honest_fields(OTHER)))
    scene.refuses(BACKGROUND, Shown([makers.peer_certificate(value, OTHER)], OTHER), "RA-TOKEN-CLAIMS")
    assert calls["/attestation"] == before + 2


@pytest.mark.parametrize("scene", stages.EGRESS, indirect=True)
def test_76_the_backend_is_dialled_after_the_verification(scene: Scene) -> None:
    """While the service thinks, no SYN leaves for the backend, although the client has sent already."""
    stage, answer = scene.stage, threading.Event()
    before, calls = stage.dialled(), stage.service.calls["/attestation"]

    def thinking() -> Iterator[bytes]:
        answer.wait(stages.PATIENCE)
        yield from services.text(stages.honest_token())()

    stage.service.attestation = thinking
    with stage.connect(BACKGROUND) as app:
        tls = tls13.client(app, stages.honest())
        tls.send(tls13.APPLICATION, bytes(1000))
        stages.until(lambda: stage.service.calls["/attestation"] == calls + 1, "the service was not asked")
        assert stage.dialled() == before
        stage.nothing_dialled()
        answer.set()
        with stage.accept(BACKGROUND) as backend:
            assert backend.recv(1) == b"\0"
    assert stage.dialled() == before + 1
    stage.proved += 1
    stage.service.attestation = services.text(stages.honest_token())


def says_nothing(sock: socket.socket) -> None:
    """A peer that listens."""
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass


def byte_by_byte(sock: socket.socket) -> None:
    """A peer that begins a hello and takes four minutes for it."""
    with contextlib.suppress(OSError):
        for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
            sock.sendall(bytes([byte]))
            time.sleep(0.5)


def test_07_peers_that_take_their_time_are_refused_at_the_deadline(tmp_path: Path) -> None:
    """On both sides at the same time; an honest connection is opened and used in the meantime."""
    found: list[tuple[stages.Stage, Outcome, float]] = []

    def play(stage: stages.Stage, port: int, how: Play) -> None:
        began = time.monotonic()
        outcome = stage.hostile(port, how, patience=3 * DEADLINE)
        found.append((stage, outcome, time.monotonic() - began))

    sides: tuple[stages.Side, ...] = ("ingress", "egress")
    with contextlib.ExitStack() as stack:
        built = []
        for side in sides:
            (tmp_path / side).mkdir()
            built.append(stack.enter_context(stages.stage(side, tmp_path / side, ports=[BACKGROUND, UNPINNED, NO_RA])))
        threads = [
            threading.Thread(target=play, args=(stage, port, how))
            for stage in built
            for port, how in ((UNPINNED, says_nothing), (NO_RA, byte_by_byte))
        ]
        for thread in threads:
            thread.start()
        for stage in built:
            held = stage.open(BACKGROUND, stages.honest())
            held.close()
        for thread in threads:
            thread.join(3 * DEADLINE)
        assert len(found) == len(threads)
        for stage, outcome, seconds in found:
            stage.refused(outcome, "TLS-DEADLINE")
            # The slow hello would take four minutes. On a busy host a deadline is seen late, never early.
            assert DEADLINE - 1 < seconds < 2 * DEADLINE
