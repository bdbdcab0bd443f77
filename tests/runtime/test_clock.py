"""The clock of both machines is set two days ahead and back, at rest and under load, for programs as they are.

No namespace has a clock of the wall of its own: a library between programs and libc gives them one (Debian's
libfaketime). The clocks that nobody sets stay as they are.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.processes import until
from runtime.senders import MARKER, Senders, assert_no_plaintext
from runtime.test_flushed import connected
from tng_demo import scene as scenes
from tng_demo import tunnel
from tng_demo.lab import Host, Lab
from tng_demo.process import PATIENCE, Process
from tng_demo.scene import CLIENT_CONFIG, PAGE, SERVER_CONFIG, Scene

pytestmark = pytest.mark.netns

AHEAD, RIGHT = "+2d", "+0"
# Longer than the test: a kept verdict (60 seconds) and its token end by the jump alone.
LIFETIME = 600


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock of the wall for the programs that are started with it; ``file`` says how far it is off."""

    file: Path

    def set(self, offset: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(offset, encoding="ascii")
        new.rename(self.file)

    def start(self, host: Host, *argv: str) -> Process:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
        settings = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": self.file,
            "FAKETIME_NO_CACHE": 1,
            "FAKETIME_DONT_FAKE_MONOTONIC": 1,
            "NO_FAKE_STAT": 1,
        }
        # The library keeps its state in /dev/shm, and leaves it there when a program is killed.
        script = 'mount -t tmpfs none /dev/shm && exec env "$@"'
        return host.start("sh", "-c", script, "sh", *(f"{name}={value}" for name, value in settings.items()), *argv)


@dataclass(frozen=True, slots=True)
class Gateways:
    """Both, agent and service, by one clock."""

    scene: Scene
    clock: Clock
    egress: Process
    ingress: Process

    def passes(self) -> bool:
        return self.scene.curl(self.scene.urls()["IPv4"]).stdout == PAGE

    def jump(self, offset: str) -> None:
        """Set the clock while the service affirms nobody any more: who was known is judged anew, and refused."""
        self.scene.affirm(False)
        assert self.passes(), "the verdict is kept"
        shown, refused = len(self.egress.output()), len(self.ingress.output())
        self.clock.set(offset)
        before = odd_requests(self.scene)
        assert not self.passes(), "what was shown, or the verdict on it, has ended"
        self.egress.wait_for("event=certificate_ready", PATIENCE, after=shown)
        with Senders(self.scene.client, self.scene.server.ipv4, count=2) as newcomers:
            newcomers.wait_for_failures(6)
        self.ingress.wait_for("code=RA-TOKEN-STATUS", PATIENCE, after=refused)
        assert odd_requests(self.scene) == before, "something came before the verdict"
        self.scene.affirm(True)
        until(self.passes, "it recovers")


@pytest.fixture
def gateways(hosts: Lab) -> Gateways:
    clock = Clock(hosts["client"].state / "clock")
    clock.set(RIGHT)
    scene = scenes.set_up(hosts, start=clock.start, lifetime=LIFETIME)
    started = []
    for host, config in ((scene.server, SERVER_CONFIG), (scene.client, CLIENT_CONFIG)):
        made = tunnel.compile_into(config, host.state / "compiled")
        started.append(clock.start(host, f"{tunnel.TNG}-runtime", "run", "--workers", "1", str(made)))
    for run in started:
        run.wait_for(r"\bevent=serving\b")
    return Gateways(scene, clock, *started)


def test_certificates_and_verdicts_end_with_a_jump_of_the_clock_and_are_had_anew(gateways: Gateways) -> None:
    """By themselves; what is open goes on."""
    scene = gateways.scene
    with scene.wire() as wire, connected(scene.client, scene.server.ipv4) as live:
        for load in (contextlib.nullcontext(), Senders(scene.client, scene.server.ipv4, count=2, pause=0.01)):
            with load:
                for offset in (AHEAD, RIGHT):
                    gateways.jump(offset)
                    again(live)
    assert_no_plaintext(wire, MARKER[:24], b"GET /", PAGE.encode())
    for run in (gateways.egress, gateways.ingress):
        assert "_died" not in run.output()
        assert run.stop() == 0


def odd_requests(scene: Scene) -> list[str]:
    """What came to the server and was no request that it could answer: what Senders send, logged when they end."""
    return [line for line in scene.web.requests() if '" 200 ' not in line]


def again(live: socket.socket) -> None:
    """Another request on the connection of ``connected``."""
    live.sendall(b"GET / HTTP/1.1\r\nHost: live\r\n\r\n")
    got = b""
    while PAGE.encode() not in got:
        got += live.recv(1 << 16) or pytest.fail("it ended")
