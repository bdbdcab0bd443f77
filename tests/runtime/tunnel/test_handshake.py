"""The door against foreign TLS peers; the numbers are those of the catalogue of hostile inputs."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime

import anyio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ObjectIdentifier
from OpenSSL import SSL, crypto
from OpenSSL._util import lib

from runtime.servers import loopback
from runtime.tunnel import tls
from runtime.tunnel.tls import Far, meet, offering, shake_in_memory, shaking
from tng_demo.sample_agent import SampleAgent
from tng_demo.sample_service import SampleService
from tng_runtime.attest.codes import Code
from tng_runtime.attest.issue import generate_key
from tng_runtime.attest.token import Verdict
from tng_runtime.errors import LinkCode
from tng_runtime.kernel.readiness import Poller
from tng_runtime.manifest import Attest, Service, Verify
from tng_runtime.tunnel import credentials
from tng_runtime.tunnel.contexts import MAX_CERTIFICATE_MESSAGE, Side
from tng_runtime.tunnel.credentials import Credentials
from tng_runtime.tunnel.handshake import HANDSHAKE_SECONDS, AttestedStream, Door, Handshaken
from tng_runtime.tunnel.identity import Identity
from tng_runtime.tunnel.verifier import Verifier

pytestmark = pytest.mark.anyio

OTHER: dict[Side, Side] = {"client": "server", "server": "client"}


@pytest.fixture
async def poller() -> AsyncIterator[Poller]:
    made = Poller()
    yield made
    made.close()


def verifying(service: SampleService) -> Verifier:
    return Verifier(
        Verify("background_check", Service(service.url, ()), ("default",), (), False, None, None), so_mark=0
    )


@pytest.fixture
async def verifier(service: SampleService) -> AsyncIterator[Verifier]:
    made = verifying(service)
    await made.start()
    yield made
    await made.aclose()


class Everybody:
    """Believes whoever it is ``asked`` about."""

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, ...]] = []

    def cached(self, chain: Sequence[bytes]) -> Verdict | None:
        return None

    async def verify(self, chain: Sequence[bytes], source: str) -> Verdict:
        self.asked.append(tuple(chain))
        return Verdict(None, ("default",))


async def attested(agent: SampleAgent) -> Credentials:
    attest = Attest("background_check", str(agent.path), 600, None, ())
    return await credentials.background_check(attest)(datetime.now(UTC))


async def throwaway() -> Credentials:
    return await credentials.throwaway(datetime.now(UTC))


def only(low: int, high: int) -> Callable[[SSL.Context], None]:
    def prepare(context: SSL.Context) -> None:
        context.set_min_proto_version(low)
        context.set_max_proto_version(high)

    return prepare


def read_to_the_end(connection: SSL.Connection) -> bytes:
    got = b""
    try:
        while part := connection.recv(1 << 16):
            got += part
    except SSL.Error:
        return got
    return got


async def test_our_own_two_sides_agree_on_the_hybrid_and_send_no_ticket(poller: Poller) -> None:
    """Both ends are ours here. After the handshake the server has sent nothing more."""
    streams: list[AttestedStream] = []

    async def shake(side: Side, sock: socket.socket) -> None:
        door = await tls.our_door(poller, side)
        poller.register(sock.fileno(), lambda _: None)
        streams.append(await door.verify(await door.handshake(sock, "10.0.0.1", poller.time() + 60)))
        poller.forget(sock.fileno())

    with loopback() as (near, far):
        far.setblocking(False)
        async with anyio.create_task_group() as group:
            group.start_soon(shake, "client", near)
            group.start_soon(shake, "server", far)
        assert {(stream.group, stream.verdict) for stream in streams} == {("X25519MLKEM768", None)}
        for stream in streams:
            with pytest.raises(BlockingIOError):
                stream.sock.recv(1)
            with pytest.raises(SSL.WantReadError):
                stream.connection.recv(1)


@pytest.mark.parametrize("side", ["client", "server"])
async def test_1_a_peer_of_tls_1_2_is_refused(poller: Poller, side: Side) -> None:
    shown = await throwaway()
    context = offering(OTHER[side], shown=shown, prepare=only(SSL.TLS1_2_VERSION, SSL.TLS1_2_VERSION))
    met = await meet(poller, side, shaking(OTHER[side], context))
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_VERSION
    assert met.far.failure is not None


@pytest.mark.parametrize("alpn", [[], [b"h2"], [b"http/1.1", b"rats-tls/2"]], ids=["none", "h2", "others"])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_2_3_a_peer_of_another_protocol_is_refused(poller: Poller, side: Side, alpn: list[bytes]) -> None:
    shown = await throwaway()
    met = await meet(poller, side, shaking(OTHER[side], offering(OTHER[side], alpn=alpn, shown=shown), read_to_the_end))
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_ALPN
    assert met.far.received == b""


async def test_ours_is_found_among_other_protocols(poller: Poller) -> None:
    met = await meet(poller, "server", shaking("client", offering("client", alpn=[b"h2", b"rats-tls"])))
    assert met.refused is None
    assert met.far.connection is not None
    assert met.far.connection.get_alpn_proto_negotiated() == b"rats-tls"


class Anew(Identity):
    """A certificate for every handshake, counted, as late as ``wait`` lets it be."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.made: list[Credentials] = []

        async def source(now: datetime) -> Credentials:
            await anyio.sleep(seconds)
            self.made.append(await credentials.throwaway(now))
            return self.made[-1]

        super().__init__(source, 0)


async def test_who_says_nothing_costs_no_certificate(poller: Poller) -> None:
    anew = Anew()
    door = Door("server", anew, None, poller, deadline=0.3)
    met = await meet(poller, "server", lambda far: read_all(far.sock), door=door)
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_DEADLINE
    assert not anew.made


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", LinkCode.TLS_PLAINTEXT),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", LinkCode.TLS_HANDSHAKE),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(100), LinkCode.TLS_DEADLINE),
    ],
    ids=["plaintext", "no_hello", "half_a_hello"],
)
async def test_who_says_no_hello_costs_no_certificate(poller: Poller, said: bytes, code: LinkCode) -> None:
    anew = Anew()
    deadline = 0.5 if code is LinkCode.TLS_DEADLINE else HANDSHAKE_SECONDS
    door = Door("server", anew, None, poller, deadline=deadline)
    met = await meet(poller, "server", saying(said), door=door)
    assert met.refused is not None
    assert met.refused.code is code
    assert not anew.made


async def test_a_hello_that_is_not_agreed_to_costs_no_certificate(poller: Poller) -> None:
    anew = Anew()
    met = await meet(
        poller, "server", shaking("client", offering("client", alpn=[b"h2"])), door=Door("server", anew, None, poller)
    )
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_ALPN
    assert not anew.made


@pytest.mark.parametrize("groups", [None, b"*secp521r1:secp384r1"], ids=["one_hello", "hello_again"])
async def test_each_hello_gets_a_certificate_of_its_own(poller: Poller, groups: bytes | None) -> None:
    """Once, also when the server asks for another key share first."""
    anew = Anew()
    door = Door("server", anew, None, poller)

    def prepare(context: SSL.Context) -> None:
        if groups is not None:
            assert lib.SSL_CTX_set1_curves_list(context._context, groups) == 1

    for number in range(2):
        met = await meet(poller, "server", shaking("client", offering("client", prepare=prepare)), door=door)
        assert met.refused is None
        assert met.far.connection is not None
        leaf = met.far.connection.get_peer_certificate()
        assert leaf is not None
        assert crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf) == anew.made[number].certificate_der
        assert len(anew.made) == number + 1


async def test_the_time_that_our_certificate_takes_is_not_the_peers(poller: Poller) -> None:
    door = Door("server", Anew(3.0), None, poller, deadline=2.9)
    met = await meet(poller, "server", shaking("client", offering("client")), door=door)
    assert met.refused is None


async def test_one_deadline_spans_the_making_of_our_certificate(poller: Poller) -> None:
    met = await meet(
        poller,
        "server",
        shaking("client", offering("client")),
        door=Door("server", Anew(60), None, poller),
        seconds=0.5,
    )
    assert met.refused is not None
    assert met.refused.code is Code.AGENT_DEADLINE


@pytest.mark.parametrize("asks", [True, False])
async def test_a_client_makes_a_certificate_for_who_asks(poller: Poller, asks: bool) -> None:
    anew, shown = Anew(), await throwaway()

    def prepare(context: SSL.Context) -> None:
        if asks:
            context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)

    offer = offering("server", shown=shown, prepare=prepare)
    met = await meet(poller, "client", shaking("server", offer), door=Door("client", anew, None, poller))
    assert met.refused is None
    assert len(anew.made) == asks
    assert met.far.connection is not None
    leaf = met.far.connection.get_peer_certificate()
    assert (leaf is not None) == asks


def read_all(sock: socket.socket) -> None:
    sock.settimeout(20)
    with contextlib.suppress(OSError):
        while sock.recv(1 << 16):
            pass


def saying(data: bytes) -> tls.Program:
    def program(far: Far) -> None:
        far.sock.sendall(data)
        far.sock.settimeout(10)
        while part := far.sock.recv(1 << 16):
            far.received += part

    return program


@pytest.mark.parametrize(
    "said",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"SSH-2.0-OpenSSH_9.2\r\n" * 10, b"HTTP/1.1 200 OK\r\n\r\n", bytes(64)],
    ids=["http", "ssh", "http_answer", "zeros"],
)
@pytest.mark.parametrize("side", ["client", "server"])
async def test_6_plaintext_is_refused(poller: Poller, side: Side, said: bytes) -> None:
    met = await meet(poller, side, saying(said))
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_PLAINTEXT


@pytest.mark.parametrize("side", ["client", "server"])
async def test_7_a_silent_peer_is_refused_at_the_deadline(poller: Poller, side: Side) -> None:
    started = time.monotonic()
    met = await meet(poller, side, saying(b""), deadline=0.2)
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_DEADLINE
    assert 0.2 <= time.monotonic() - started < HANDSHAKE_SECONDS


async def test_7_a_byte_now_and_then_does_not_prolong_the_deadline(poller: Poller) -> None:
    def slow(far: Far) -> None:
        for byte in b"\x16\x03\x01\x02\x00\x01" + bytes(500):
            far.sock.sendall(bytes([byte]))
            time.sleep(0.02)  # it is the slowness that is tested

    met = await meet(poller, "server", slow, deadline=0.2)
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_DEADLINE


@pytest.mark.parametrize(("seconds", "code"), [(60, None), (1.5, LinkCode.TLS_DEADLINE)], ids=["late", "too_late"])
async def test_a_client_that_has_our_answer_may_ask_its_service_first(
    poller: Poller, seconds: float, code: LinkCode | None
) -> None:
    """Longer than a handshake may take, and no longer than all of it may."""

    def program(far: Far) -> None:
        connection = SSL.Connection(offering("client"))
        connection.set_connect_state()
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
        far.sock.sendall(connection.bio_read(1 << 16))
        connection.bio_write(far.sock.recv(1 << 16))
        time.sleep(2)  # it is the slowness that is tested
        connection.do_handshake()
        far.sock.sendall(connection.bio_read(1 << 16))

    met = await meet(poller, "server", program, deadline=1, seconds=seconds)
    assert (met.refused and met.refused.code) == code


async def test_8_a_hello_and_then_junk_is_refused_at_its_first_record(poller: Poller) -> None:
    context = offering("client")

    def program(far: Far) -> None:
        connection = SSL.Connection(context)
        connection.set_connect_state()
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
        far.sock.sendall(connection.bio_read(1 << 16))
        for _ in range(256):
            far.sock.sendall(bytes(1 << 16))

    met = await meet(poller, "server", program)
    assert met.refused is not None
    assert str(met.refused.code).startswith("TLS-")
    assert isinstance(met.far.failure, ConnectionError), "16 MB were not taken"


@pytest.mark.parametrize("side", ["client", "server"])
async def test_a_peer_that_leaves_in_the_middle_is_refused(poller: Poller, side: Side) -> None:
    met = await meet(poller, side, lambda far: far.sock.close())
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_BROKEN


@pytest.mark.parametrize("side", ["client", "server"])
async def test_4_an_honest_certificate_with_another_private_key_fails(
    poller: Poller, side: Side, agent: SampleAgent, verifier: Verifier
) -> None:
    """Also one that the verifier believes."""
    honest = await attested(agent)
    context = offering(OTHER[side], shown=honest, key=key_without_the_secret(honest))
    met = await meet(poller, side, shaking(OTHER[side], context, read_to_the_end), verifier=verifier)
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_HANDSHAKE
    assert "signature" in met.refused.detail
    assert met.far.received == b""
    # It is a client that is asked before its peer has proven to hold the key.
    assert (verifier.cached((honest.certificate_der,)) is not None) == (side == "client")


@pytest.mark.parametrize(
    ("attests", "service_there", "code", "alert"),
    [
        (False, True, Code.CERT_NO_EVIDENCE, "bad certificate"),
        (True, False, Code.SERVICE_UNREACHABLE, "internal error"),
    ],
)
async def test_a_server_learns_in_the_handshake_that_it_is_refused(
    poller: Poller, agent: SampleAgent, attests: bool, service_there: bool, code: Code, alert: str
) -> None:
    """And whether that is for its certificate, or because there is no verdict."""
    with SampleService() as service:
        verifier = verifying(service)
        await verifier.start()
        if service_there:
            met = await refused(poller, verifier, agent if attests else None)
    if not service_there:
        met = await refused(poller, verifier, agent if attests else None)
    await verifier.aclose()
    assert met.refused is not None
    assert met.refused.code is code
    assert isinstance(met.far.failure, SSL.Error)
    assert f"alert {alert}" in str(met.far.failure)


async def test_who_takes_time_after_a_verdict_does_not_outlast_it(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for once more when the handshake is over."""
    shown, everybody, waits_again = await throwaway(), Everybody(), threading.Event()
    wait = poller.wait

    async def seen_to_wait(descriptor: int, deadline: float, wanted: int = -1) -> int:
        if everybody.asked:
            waits_again.set()
        return await wait(descriptor, deadline, wanted)

    monkeypatch.setattr(poller, "wait", seen_to_wait)

    def server(far: Far) -> None:
        connection = SSL.Connection(offering("server", shown=shown))
        connection.set_accept_state()
        connection.bio_write(far.sock.recv(1 << 16))
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
        said = connection.bio_read(1 << 16)
        # Finished is not whole.
        far.sock.sendall(said[:-10])
        # What came before it looked again it did not wait for.
        assert waits_again.wait(20)
        asked.append(len(everybody.asked))
        far.sock.sendall(said[-10:])
        connection.bio_write(far.sock.recv(1 << 16))
        connection.do_handshake()

    asked: list[int] = []
    door = await tls.our_door(poller, "client", everybody)
    met = await meet(poller, "client", server, door=door)
    assert met.shaken is not None, met.refused
    assert met.shaken.verdict is None
    assert (await door.verify(met.shaken)).verdict is not None
    assert (asked, len(everybody.asked)) == ([1], 2)


async def refused(poller: Poller, verifier: Verifier, agent: SampleAgent | None) -> tls.Met:
    shown = await throwaway() if agent is None else await attested(agent)
    return await meet(poller, "client", shaking("server", offering("server", shown=shown)), verifier=verifier)


async def test_an_alert_of_a_client_is_told_with_its_name(poller: Poller) -> None:
    def prepare(context: SSL.Context) -> None:
        context.set_verify(SSL.VERIFY_PEER, lambda *_: False)

    met = await meet(poller, "server", shaking("client", offering("client", prepare=prepare)))
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_REFUSED
    assert met.refused.detail == "the peer refused this side: unknown ca"


def key_without_the_secret(honest: Credentials) -> crypto.PKey:
    """A key that looks like that of ``honest``, with another secret number: OpenSSL refuses to pair what differs."""

    def point(key: ec.EllipticCurvePrivateKey) -> bytes:
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    own = generate_key()
    der = own.private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert der.count(point(own)) == 1
    return crypto.load_privatekey(crypto.FILETYPE_ASN1, der.replace(point(own), point(honest.private_key)))


async def test_5_a_client_without_a_certificate_is_refused(poller: Poller, verifier: Verifier) -> None:
    """In TLS 1.3 the client believes the handshake done before the server has refused it: it gets no byte."""
    met = await meet(poller, "server", shaking("client", offering("client"), read_to_the_end), verifier=verifier)
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_NO_CERTIFICATE
    assert met.far.received == b""


async def test_a_client_is_asked_for_no_certificate_where_nobody_verifies_it(poller: Poller) -> None:
    met = await meet(poller, "server", shaking("client", offering("client")))
    assert met.shaken is not None
    assert met.shaken.connection.get_peer_certificate() is None


def large(size: int) -> Credentials:
    """A certificate of ``size`` bytes or a few more."""
    key = generate_key()
    name = x509.Name([])
    now = datetime.now(UTC)
    oid = ObjectIdentifier("2.23.133.5.4.9")
    der = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now.replace(year=now.year + 1))
        .add_extension(x509.UnrecognizedExtension(oid, bytes(size - 300)), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Credentials(der.public_bytes(Encoding.DER), key, now)


@pytest.mark.parametrize("size", [95_000, 120_000, (1 << 20) - 64], ids=["95KB", "120KB", "1MiB"])
@pytest.mark.parametrize("side", ["client", "server"])
async def test_13_a_large_certificate_is_taken(poller: Poller, side: Side, size: int) -> None:
    shown, everybody = large(size), Everybody()
    door = await tls.our_door(poller, side, everybody)
    met = await meet(poller, side, shaking(OTHER[side], offering(OTHER[side], shown=shown)), door=door)
    assert met.shaken is not None, met.refused
    assert (await door.verify(met.shaken)).verdict is not None
    assert set(everybody.asked) == {(shown.certificate_der,)}
    assert size - 300 < len(shown.certificate_der) <= 1 << 20


@pytest.mark.parametrize("side", ["client", "server"])
async def test_13_a_certificate_above_the_cap_is_refused(poller: Poller, side: Side, verifier: Verifier) -> None:
    shown = large(MAX_CERTIFICATE_MESSAGE + 400)
    met = await meet(poller, side, shaking(OTHER[side], offering(OTHER[side], shown=shown)), verifier=verifier)
    assert met.refused is not None
    assert met.refused.code is LinkCode.TLS_CERT_SIZE


async def test_9_what_would_resume_a_session_gets_a_full_handshake(poller: Poller) -> None:
    """A foreign server's ticket is offered to ours, which shows its certificate anew."""
    foreign, client = offering("server", shown=await throwaway()), offering("client")
    session = foreign_session(client, foreign)
    got: list[bytes] = []

    def again(far: Far) -> None:
        far.connection = connection = SSL.Connection(client, far.sock)
        connection.set_connect_state()
        connection.set_session(session)
        connection.do_handshake()
        connection.sendall(b"in time")
        far.received = read_to_the_end(connection)

    def read(shaken: Handshaken) -> None:
        shaken.sock.setblocking(True)
        got.append(shaken.connection.recv(100))

    met = await meet(poller, "server", again, after=read)
    assert met.shaken is not None, met.refused
    assert got == [b"in time"]
    assert met.far.connection is not None
    for connection in (met.shaken.connection, met.far.connection):
        assert not lib.SSL_session_reused(connection._ssl)
    assert met.far.connection.get_peer_certificate() is not None


def foreign_session(client: SSL.Context, server: SSL.Context) -> SSL.Session:
    """A session of TLS 1.3, with the ticket that a foreign server sent."""
    left, right = SSL.Connection(client), SSL.Connection(server)
    shake_in_memory(left, right)
    with pytest.raises(SSL.WantReadError):
        left.recv(1)
    session = left.get_session()
    assert session is not None
    return session


async def test_10_a_server_that_sends_tickets_is_never_resumed(poller: Poller) -> None:
    """The second hello offers no session (pre_shared_key, RFC 8446 section 4.2.11) and no early data."""
    context = offering("server", shown=await throwaway())
    hellos: list[set[int]] = []

    def server(far: Far) -> None:
        hellos.append(extensions(far.sock.recv(1 << 16, socket.MSG_PEEK)))
        shaking("server", context)(far)
        assert far.connection is not None
        far.connection.sendall(b"and two tickets")

    def read(shaken: Handshaken) -> None:
        shaken.sock.setblocking(True)
        assert shaken.connection.recv(100) == b"and two tickets"

    door = await tls.our_door(poller, "client")
    for _ in range(2):
        met = await meet(poller, "client", server, door=door, after=read)
        assert met.shaken is not None, met.refused
        assert not lib.SSL_session_reused(met.shaken.connection._ssl)
    assert hellos[0] == hellos[1]
    assert not hellos[1] & {41, 42}
    assert {16, 43, 51} <= hellos[1], "ALPN, versions and key shares were found, so the parser works"


def extensions(hello: bytes) -> set[int]:
    """The types of the extensions of a ClientHello (RFC 8446, section 4.1.2) in one record."""
    rest = hello[5 + 4 + 2 + 32 :]
    rest = rest[1 + rest[0] :]
    rest = rest[2 + int.from_bytes(rest[:2]) :]
    rest = rest[1 + rest[0] + 2 :]
    found = set()
    while rest:
        found.add(int.from_bytes(rest[:2]))
        rest = rest[4 + int.from_bytes(rest[2:4]) :]
    return found
