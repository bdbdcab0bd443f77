"""Where the hostile suite plays: two hosts, the real runtime as a black box on one of them, hostile peers on the other.

A ``Stage`` is the runtime with an honest connection held open through it. Everything that a case asserts is seen from
outside: the bytes at both ends, the log, ``/proc``, and a packet counter that the runtime does not know of.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pytest

from hostile import service as services
from hostile import tls13
from hostile.service import Service
from hostile.tls13 import Ended, Shown, Tls
from runtime import footprint
from runtime.attest import makers
from runtime.attest.makers import Authority, ec_key
from tng_demo import tunnel
from tng_demo.kernel import changes_of
from tng_demo.lab import Host, Lab, lab
from tng_demo.process import Process
from tng_demo.sample_agent import SampleAgent

TNG = str(Path(sys.prefix) / "bin" / "tng")
RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")
SERVICE = ("127.0.0.1", 9081)
SECOND_SERVICE = ("127.0.0.1", 9082)  # of UNPINNED alone
AGENT = "/run/aa.sock"
PATIENCE = 60.0
FLOOD = 100_000

# One port, and with it one entry, for each relation of trust.
# FRESH attests with a new certificate for each handshake, SHORT_LIVED in passport with whatever token it is given.
BACKGROUND, PASSPORT, UNPINNED, MUTUAL, ATTESTING, NO_RA, FRESH, SHORT_LIVED = range(9001, 9009)
ALL = range(BACKGROUND, FRESH + 1)

# What the running test saw, for the table in docs/security.md.
CODES_SEEN: list[str] = []

Side = Literal["ingress", "egress"]
# What the fixture of a module is built for: a side, and how many workers serve.
INGRESS, EGRESS = ([pytest.param((side, count), id=f"{side}-{count}") for count in (1, 2)] for side in get_args(Side))
Play = Callable[[socket.socket], Tls | None]
HONEST = Authority()

_COUNTER = """
table inet watch {
    counter dialled { }
    chain out { type filter hook output priority 300; oifname "lo" tcp dport 9001-9008 \
tcp flags & (syn|ack) == syn counter name dialled; }
}
"""


def honest() -> Shown:
    """A peer whose certificate carries honest evidence; a new certificate each time."""
    return Shown([makers.peer_certificate(makers.fields_value())], ec_key())


def passport(token: str) -> Shown:
    """A peer whose certificate carries this token."""
    return Shown([makers.peer_certificate(makers.evidence_value(token.encode(), 0xC0C001))], ec_key())


def honest_token() -> str:
    """A token that affirms the honest peer."""
    return HONEST.token(makers.ear())


@dataclass
class Log:
    """The runtime's JSON log, read as it grows, by any thread."""

    path: Path
    lines: list[dict[str, Any]] = field(default_factory=list)
    _at: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> list[dict[str, Any]]:
        """All complete lines up to now."""
        with self._lock, self.path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
            complete = data[: data.rfind(b"\n") + 1]
            self._at += len(complete)
            self.lines += [json.loads(line) for line in complete.splitlines() if line.startswith(b"{")]
        return self.lines

    def wait(
        self, wanted: Callable[[dict[str, Any]], bool], deadline: float = PATIENCE, since: int = 0
    ) -> dict[str, Any]:
        """The newest line that is wanted, awaited; ``since``: not one of the first so many."""
        end = time.monotonic() + deadline
        with changes_of(self.path) as changes:
            while True:
                found: dict[str, Any] | None = next(filter(wanted, reversed(self.read()[since:])), None)
                if found is not None:
                    return found
                assert changes.wait(end), f"not in the log within {deadline} s: {self.lines[-5:]}"

    def refusal(self, client: str, since: int) -> dict[str, Any]:
        """The refusal of the connection that came from ``client`` (address:port), which may have been used before."""
        return self.wait(lambda line: line.get("src") == client and line["event"] in ("refused", "bug"), since=since)


@dataclass
class Stage:
    """The runtime on one host (``side`` says which) and what plays against it."""

    side: Side
    lab: Lab
    run: Process
    log: Log
    service: Service
    second: Service
    agent: SampleAgent
    listeners: Mapping[int, socket.socket]
    directory: Path
    proved: int = 0

    @property
    def near(self) -> Host:
        """The host of the runtime."""
        return self.lab["client" if self.side == "ingress" else "server"]

    # --- one connection ---

    def connect(self, port: int, source: str | None = None) -> socket.socket:
        """A connection of a program on the client (from its address ``source``) to the server's port."""
        with self.lab["client"].inside():
            sock = socket.socket()
        sock.settimeout(PATIENCE)
        sock.bind((source or self.lab["client"].ipv4, 0))
        # Who is refused at once may see the reset in connect(2) already.
        with contextlib.suppress(ConnectionResetError):
            sock.connect((self.lab["server"].ipv4, port))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def accept(self, port: int) -> socket.socket:
        """The connection that arrives at the server's port: from the ingress, or from the egress as its backend."""
        sock = self.listeners[port].accept()[0]
        sock.settimeout(PATIENCE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def hostile(self, port: int, play: Play, patience: float = PATIENCE) -> Outcome:
        """Let a peer ``play`` against the runtime; both ends are then read until they end.

        Behind an ingress the application sends 100 KB at once; to an egress the hostile client does.
        """
        since = len(self.log.read())
        with contextlib.ExitStack() as stack:
            app = stack.enter_context(self.connect(port))
            client = _text(app.getsockname())
            app.settimeout(patience)
            reset = False
            if self.side == "ingress":
                reset = not _sends(app, bytes(FLOOD))
                peer = stack.enter_context(self.accept(port))
                peer.settimeout(patience)
            else:
                peer = app
            got, alert = b"", None
            try:
                tls = play(peer)
                if tls is not None and self.side == "egress":
                    tls.send(tls13.APPLICATION, bytes(FLOOD))
                while tls is not None:
                    got += tls.application()
            except Ended as ended:
                alert = ended.alert
            except OSError:
                pass
            # An error is told once: an application that was told in send reads an end afterwards.
            reset = reset or (_ends_with_reset(app) if self.side == "ingress" else _ends(app))
            return Outcome(client, len(got), alert, reset, since)

    def open(self, port: int, shown: Shown, source: str | None = None) -> Held:
        """An honest connection, proved by a round trip."""
        app = self.connect(port, source)
        client = _text(app.getsockname())
        if self.side == "ingress":
            peer = self.accept(port)
            held = Held(tls13.server(peer, shown), app, client)
        else:
            tls = tls13.client(app, shown)
            tls.send(tls13.APPLICATION, b"hello")
            held = Held(tls, self.accept(port), client)
            assert held.plain.recv(5) == b"hello"
        held.ping()
        return held

    # --- what must hold ---

    def refused(self, outcome: Outcome, *codes: str) -> dict[str, Any]:
        """Assert that it was refused with one of the codes, and that nothing got through in the meantime."""
        line = self.log.refusal(outcome.client, outcome.since)
        CODES_SEEN.append(str(line.get("code")))
        assert line.get("code") in codes, line
        assert outcome.application_bytes == 0
        assert outcome.reset, "the application could take it for a clean end"
        self.nothing_dialled()
        return line

    def nothing_dialled(self) -> None:
        """Assert that no backend has a connection that nobody fetched."""
        if self.side == "egress":
            for listener in self.listeners.values():
                listener.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    raise AssertionError(f"the backend was dialled: {listener.accept()}")
                listener.settimeout(PATIENCE)

    def dialled(self) -> int:
        """SYNs that left for a backend since the stage was built."""
        listing = json.loads(self.near.run("nft", "-j", "list", "counters", "table", "inet", "watch").stdout)
        return int(next(item["counter"]["packets"] for item in listing["nftables"] if "counter" in item))

    def descriptors(self) -> int:
        """How many the runtime has open."""
        return footprint.descriptors(self.run)

    def memory(self) -> int:
        """Resident bytes of all processes of the runtime, those that they share counted once."""
        return footprint.memory(self.run)

    def processor(self) -> float:
        """Seconds of processor time that the runtime has used."""
        stats = [Path(f"/proc/{pid}/stat").read_text(encoding="ascii") for pid in self.run.all_pids()]
        fields = [stat.rsplit(")", 1)[1].split() for stat in stats]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")

    @property
    def pid(self) -> int:
        """Of the runtime: what `nsenter` and `unshare` start replaces them."""
        return self.run.pid


@dataclass(frozen=True, slots=True)
class Outcome:
    """One hostile connection as its ends saw it; ``client`` names it in the log, after ``since`` lines."""

    client: str
    application_bytes: int
    alert: int | None
    reset: bool
    since: int


@dataclass(frozen=True, slots=True)
class Held:
    """An open tunnel: its TLS end and its plaintext end."""

    tls: Tls
    plain: socket.socket
    client: str

    def ping(self) -> None:
        """Assert that bytes flow in both directions."""
        self.plain.settimeout(PATIENCE)
        self.plain.sendall(b"ping")
        assert self.tls.application() == b"ping"
        self.tls.send(tls13.APPLICATION, b"pong")
        assert self.plain.recv(4) == b"pong"

    def close(self) -> None:
        """End it cleanly in both directions."""
        with contextlib.suppress(OSError, Ended):
            self.tls.close()
            self.plain.shutdown(socket.SHUT_WR)
            self.tls.application()
        self.plain.close()
        self.tls.sock.close()


def trust(port: int, pin: Path) -> dict[str, Any]:
    """What the entry of a port demands and shows."""
    asked = {"as_addr": f"http://{SERVICE[0]}:{SERVICE[1]}/", "policy_ids": [makers.POLICY]}
    pinned = {"trusted_certs_paths": [str(pin)]}
    attest = {"attest": {"aa_addr": f"unix://{AGENT}"}}
    entries: dict[int, dict[str, Any]] = {
        BACKGROUND: {"verify": {**asked, **pinned}},
        PASSPORT: {"verify": {"model": "passport", "policy_ids": [makers.POLICY], **pinned}},
        UNPINNED: {"verify": {**asked, "as_addr": f"http://{SECOND_SERVICE[0]}:{SECOND_SERVICE[1]}/"}},
        MUTUAL: {"verify": {**asked, **pinned}, **attest},
        ATTESTING: attest,
        NO_RA: {"no_ra": True},
        FRESH: {"attest": {**attest["attest"], "refresh_interval": 0}},
        SHORT_LIVED: {"attest": {**attest["attest"], **asked, "model": "passport"}},
    }
    return entries[port]


def document(side: Side, ports: Sequence[int], pin: Path) -> dict[str, Any]:
    """The configuration with one entry for each port."""
    return {f"add_{side}": [{"netfilter": {"capture_dst": {"port": port}}, **trust(port, pin)} for port in ports]}


def start(
    host: Host, directory: Path, config: Mapping[str, Any], env: Mapping[str, str] | None = None, *options: str
) -> Process:
    """Compile ``config`` and run the runtime on it until it serves."""
    source, output = directory / f"{host.name}.json", directory / host.name
    source.write_text(json.dumps(config), encoding="utf-8")
    tunnel.compile_into(source, output)
    return _run(host, output, env, *options)


def again(stage: Stage, *options: str) -> Process:
    """Run the runtime once more on what was compiled for it."""
    return _run(stage.near, stage.directory / stage.near.name, None, *options)


def _run(host: Host, output: Path, env: Mapping[str, str] | None, *options: str) -> Process:
    arguments = ("--log-format", "json", "--log-level", "debug", "run", str(output))
    # Of an option that comes twice the last one counts.
    run = host.start(RUNTIME, *arguments, "--workers", workers(host), *options, env=env)
    run.wait_for('"event": "serving"')
    return run


def workers(host: Host) -> str:
    """How many serve on a host: one as ingress and two as egress, or on both what TNG_TEST_WORKERS says."""
    return os.environ.get("TNG_TEST_WORKERS") or ("1" if host.name == "client" else "2")


@contextlib.contextmanager
def stage(
    side: Side,
    directory: Path,
    *,
    env: Mapping[str, str] | None = None,
    ports: Sequence[int] = ALL,
    token: str | None = None,
    options: Sequence[str] = (),
) -> Iterator[Stage]:
    """Build the lab, start the runtime and everything around it; all of it goes with the context.

    ``token`` is what the services answer, at first an honest one; ``env`` is added to the runtime's environment,
    ``options`` to its own.
    """
    pin = directory / "pin.pem"
    pin.write_bytes(HONEST.pem)
    with lab("client", "server") as hosts, contextlib.ExitStack() as stack:
        near, server = hosts["client" if side == "ingress" else "server"], hosts["server"]
        listeners = {}
        with server.inside():
            for port in ports:
                listeners[port] = stack.enter_context(socket.create_server((server.ipv4, port), backlog=512))
                listeners[port].settimeout(PATIENCE)
        agent = stack.enter_context(SampleAgent(near.state / "run" / Path(AGENT).name))
        with near.inside():
            service = stack.enter_context(Service(SERVICE, HONEST.pem))
            second = stack.enter_context(Service(SECOND_SERVICE, HONEST.pem))
        service.attestation = second.attestation = services.text(token or honest_token())
        near.run("nft", "-f", "-", stdin=_COUNTER)
        run = start(near, directory, document(side, ports, pin), env, *options)
        built = Stage(side, hosts, run, Log(run.log), service, second, agent, listeners, directory)
        yield built


def until(condition: Callable[[], bool], what: str, deadline: float = PATIENCE) -> None:
    """Await what no event announces, such as another process's descriptors."""
    end = time.monotonic() + deadline
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def abort(sock: socket.socket) -> None:
    """Close with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def _sends(app: socket.socket, data: bytes) -> bool:
    try:
        app.sendall(data)
    except ConnectionError:
        return False
    return True


def _ends_with_reset(app: socket.socket) -> bool:
    try:
        assert app.recv(65536) == b"", "the application was given bytes"
    except ConnectionResetError:
        return True
    return False


def _ends(sock: socket.socket) -> bool:
    try:
        while sock.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def _text(address: tuple[str, int]) -> str:
    return f"{address[0]}:{address[1]}"
