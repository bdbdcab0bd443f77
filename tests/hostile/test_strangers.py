"""Strangers that cost (121 to 126): whatever they do, honest peers are served meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hostile import service as services
from hostile import stage as stages
from hostile import tls13
from hostile.stage import BACKGROUND, FRESH
from hostile.tls13 import Ended, Shown
from runtime.attest import makers
from runtime.tunnels import PORT, RUNTIME, Tunnel, ends
from tng_runtime.attest import cbor

pytestmark = pytest.mark.netns

__all__ = ["ends"]

PATIENCE = 60.0


def seconds(stage: stages.Stage, port: int, shown: Shown, source: str | None = None) -> float:
    """How long it takes until an honest peer is served."""
    began = time.monotonic()
    stage.open(port, shown, source=source).close()
    return time.monotonic() - began


def at_once(usual: float) -> float:
    """On a machine where an honest peer that is alone takes ``usual``."""
    return 3 + 20 * usual


def test_121_silence_costs_no_quote(tmp_path: Path) -> None:
    """400 strangers connect to an entry with ``refresh_interval`` 0; an honest peer is served at once."""
    with stages.stage("egress", tmp_path, ports=[FRESH]) as stage, contextlib.ExitStack() as silent:
        started = len(stage.agent.calls)
        usual = seconds(stage, FRESH, stages.honest())
        asked = len(stage.agent.calls)
        for _ in range(400):
            silent.enter_context(stage.connect(FRESH))
        stages.until(lambda: stage.descriptors() > 400, "they were not accepted")
        assert seconds(stage, FRESH, stages.honest()) < at_once(usual)
        assert len(stage.agent.calls) == asked + (asked - started)


def stranger(stage: stages.Stage, shown: Shown) -> socket.socket:
    """The connection of a peer that nobody knows, after its handshake."""
    sock = stage.connect(BACKGROUND)
    with contextlib.suppress(Ended, OSError):
        tls13.client(sock, shown)
    return sock


def test_122_unattested_peers_wait_for_each_other(tmp_path: Path) -> None:
    """300 from one address where the service needs 3 s: one from another waits for few, a known one for none."""
    with stages.stage("egress", tmp_path, ports=[BACKGROUND]) as stage, contextlib.ExitStack() as strangers:
        known = stages.honest()
        stage.open(BACKGROUND, known).close()
        other = another_address(stage)

        def slow() -> Iterator[bytes]:
            stage.service.ended.wait(3.0)
            yield from services.text(stages.honest_token())()

        stage.service.attestation = slow
        # The service's word is about another key: they are refused in the end.
        key = makers.ec_key("other")
        value = makers.evidence_value(cbor.text_map(makers.honest_fields(key)))
        shown = [Shown([makers.peer_certificate(value, key)], key) for _ in range(300)]
        with ThreadPoolExecutor(4) as threads:
            for sock in threads.map(lambda one: stranger(stage, one), shown):
                strangers.enter_context(sock)
        stages.until(lambda: stage.descriptors() > 100, "they were not accepted")
        assert seconds(stage, BACKGROUND, known) < 3
        assert seconds(stage, BACKGROUND, stages.honest(), other) < 9
        assert any(line.get("code") == "RA-SERVICE-BUSY" for line in stage.log.read())


def half_open(stage: stages.Stage, count: int, stack: contextlib.ExitStack) -> None:
    """Begin handshakes that do not go on."""
    for _ in range(count):
        sock = stack.enter_context(stage.connect(BACKGROUND))
        with contextlib.suppress(OSError):
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100))


def another_address(stage: stages.Stage) -> str:
    """An address of the client's host that no stranger uses."""
    stage.lab["client"].run("ip", "addr", "add", "10.77.0.99/32", "dev", "lo")
    stage.lab["server"].run("ip", "route", "add", "10.77.0.99/32", "via", stage.lab["client"].ipv4)
    return "10.77.0.99"


def test_125_half_open_handshakes_are_bounded(tmp_path: Path) -> None:
    """1,000 of them cost bounded memory; one source has half of the room, and others are served at once."""
    with stages.stage("egress", tmp_path, ports=[BACKGROUND]) as stage:
        other = another_address(stage)
        usual = seconds(stage, BACKGROUND, stages.honest())
        memory = stage.memory()
        with contextlib.ExitStack() as stack:
            half_open(stage, 1000, stack)
            stages.until(lambda: stage.descriptors() > 1000, "they were not accepted")
            assert stage.memory() - memory < 1000 * (64 << 10)
            assert seconds(stage, BACKGROUND, stages.honest(), other) < at_once(usual)
        assert stage.run.stop() == 0
        stage.run = stages.again(stage, "--workers", "1", "--max-handshakes", "100")
        stage.log = stages.Log(stage.run.log)
        with contextlib.ExitStack() as stack:
            half_open(stage, 100, stack)
            stage.log.wait(lambda line: line["event"] == "handshakes_at_limit")
            assert seconds(stage, BACKGROUND, stages.honest(), other) < at_once(usual)
        below = stage.log.wait(lambda line: line["event"] == "handshakes_below_limit")
        assert below["turned_away"] == 50


def test_126_clients_that_vanish_are_gone_within_minutes(ends: Tunnel) -> None:
    """Their host falls silent: an egress notices it, and resets what it has dialled for them."""
    ends.start("server")
    ends.start("client")
    near, far = ends.connect()
    with near, far:
        ends.lab["client"].run("ip", "link", "set", "eth0", "down")
        far.settimeout(120)
        with pytest.raises(ConnectionResetError):
            far.recv(1)


class Reader:
    """Standard error of a process as a pipe, of which is read only when somebody asks."""

    def __init__(self) -> None:
        self.descriptor, self.end = os.pipe()
        fcntl.fcntl(self.end, fcntl.F_SETPIPE_SZ, 4096)
        self.got = ""

    def read(self, until: str) -> str:
        """All up to now, once ``until`` is in it."""
        while until not in self.got:
            data = os.read(self.descriptor, 1 << 16)
            assert data, f"no {until!r} before the end:\n{self.got}"
            self.got += data.decode()
        return self.got

    def stall(self) -> None:
        """Fill the pipe: whoever writes now would wait."""
        # The open file is ours and the program's: it is made non-blocking on a copy of its own.
        filler = os.open(f"/proc/self/fd/{self.end}", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filler, b"\n" * 4096)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(filler, b"\n")
        os.close(filler)


@contextlib.contextmanager
def watched(ends: Tunnel) -> Iterator[tuple[subprocess.Popen[bytes], Reader]]:
    """The egress, serving, with a reader of its log that stalls."""
    reader = Reader()
    argv = ends.lab["server"].command(RUNTIME, "run", str(ends.server))
    with subprocess.Popen(argv, stderr=reader.end, stdin=subprocess.DEVNULL) as process:
        try:
            reader.read("event=serving")
            reader.stall()
            yield process, reader
        finally:
            process.kill()
    os.close(reader.descriptor)


def plaintext(ends: Tunnel) -> None:
    """A stranger that is refused."""
    with ends.lab["client"].inside():
        sock = socket.socket()
    # It carries the mark of the ingress, whose rules let it pass.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 565)
    sock.settimeout(PATIENCE)
    with sock, contextlib.suppress(ConnectionError):
        sock.connect((ends.lab["server"].ipv4, PORT))
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while sock.recv(4096):
            pass


def test_124_a_reader_of_the_log_that_stalls_stops_nobody(ends: Tunnel) -> None:
    """400 refusals, an honest peer is served, and in the end nothing was lost."""
    with watched(ends) as (process, reader):
        ends.start("client")
        for _ in range(400):
            plaintext(ends)
        near, far = ends.connect()
        near.close()
        far.close()
        process.terminate()
        ending = threading.Thread(target=process.wait, daemon=True)
        ending.start()
        said = reader.read("event=stopped")
        ending.join(PATIENCE)
        assert "refused.TLS-PLAINTEXT=400" in reader.read("\n")
        lines = [line for line in said.splitlines() if "event=refused" in line]
        times = [int(line.partition("times=")[2].split()[0]) if "times=" in line else 1 for line in lines]
        assert sum(times) == 400
        assert "log_lines_dropped" not in said
