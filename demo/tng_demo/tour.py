"""The narrated tour: the netfilter scenario in two hosts on this machine, each claim shown and checked.

``--keep`` leaves the hosts up to play with, ``--on HOST COMMAND`` runs a command there, ``--remove`` takes them away.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time

from tng_demo import lab as labs
from tng_demo import tunnel
from tng_demo.capture import streams, tls_records
from tng_demo.lab import Host, Lab, LabError, lab
from tng_demo.narrator import Narrator
from tng_demo.process import Process, ProcessError
from tng_demo.scene import (
    CLIENT_CONFIG,
    PAGE,
    PORT,
    SERVER_CONFIG,
    SERVICE,
    TOKEN_LIFE,
    Scene,
    Wire,
    set_up,
)

KEPT = "demo"
TABLES = ["table inet tng", "table inet tng_guard"]

_TOPOLOGY = """\
   host `client`                                          host `server` (would be in a TEE)
  +---------------------------+                          +---------------------------------+
  | curl                      |                          |                    nginx :8080  |
  |   |  captured by nft      |        one cable         |                        ^        |
  |   v                       |                          |   captured by nft      |        |
  | tng (ingress, verifies) ==|== RATS-TLS, ALPN       ==|=> tng (egress, attests)         |
  |   |                       |   rats-tls, TLS 1.3      |     |                           |
  |   v                       |                          |     v                           |
  | sample service :8081      |                          |   sample agent (unix socket)    |
  +---------------------------+                          +---------------------------------+
"""


class Tour:
    """The steps, in order; each leaves the scene as the next one expects it."""

    def __init__(self, scene: Scene, narrator: Narrator) -> None:
        self.scene, self.tell = scene, narrator
        self.ingress: Process
        self.egress: Process

    def run(self) -> None:
        """All steps."""
        self.topology()
        self.ruleset()
        self.apply()
        self.request_that_just_works()
        self.service_no_longer_affirms()
        self.egress_without_attestation()
        self.ingress_killed()
        self.rules_flushed()
        self.stopped_and_still_closed()
        self.clean_removal()

    def topology(self) -> None:
        self.tell.step(
            "Two hosts, a client and a server that know nothing of tng",
            "Two network namespaces of this machine, joined by one cable. THE SAMPLE AGENT AND THE SAMPLE SERVICE PROVE"
            " NOTHING: anybody can make their evidence. In production a TEE's agent and a real service stand there.",
        )
        self.tell.show(_TOPOLOGY)
        for host in (self.scene.client, self.scene.server):
            self.tell.show(f"{host.name}: {host.ipv4}  {host.ipv6}")
        self.tell.say("Without tng, what curl asks and nginx answers is there for everybody on the wire to read:")
        wire = self._both_families_answer()
        for family, text in self._on_the_wire(wire).items():
            self.tell.check(
                PAGE.encode() in text, f"{family}: the page is on the wire in plaintext (so we would see a leak)"
            )

    def ruleset(self) -> None:
        self.tell.step(
            "The compiled ruleset",
            "A pure compiler turns each configuration into a ruleset and a manifest that people can review."
            " Capture chains redirect; guard chains reject whatever was captured and did not go through the tunnel.",
        )
        for host, config in ((self.scene.client, CLIENT_CONFIG), (self.scene.server, SERVER_CONFIG)):
            self.tell.shell(host.name, "cat", config.name)
            self.tell.show(config.read_text(encoding="utf-8"))
            self.tell.shell(host.name, "tng", "compile", config.name, "--emit", "nft")
            self.tell.show(_folded(host.run(tunnel.TNG, "compile", str(config), "--emit", "nft").stdout))

    def apply(self) -> None:
        self.tell.step("tng apply, on each host", "One command a host: it compiles, and becomes the runtime.")
        self.egress = self._apply(self.scene.server)
        self.ingress = self._apply(self.scene.client)
        for name, process in (("egress", self.egress), ("ingress", self.ingress)):
            self.tell.check(process.alive(), f"{name}: {process.wait_for(r'event=capturing.*')[0]}")

    def request_that_just_works(self) -> None:
        self.tell.step(
            "The request that just works",
            f"Stock curl, stock nginx, the usual address and port {PORT}, IPv4 and IPv6; tcpdump records the cable.",
        )
        wire = self._both_families_answer()
        self.tell.say("Proof, from the packets: TLS records only, and no byte of request or answer in plaintext.")
        for family, text in self._on_the_wire(wire).items():
            secret = all(part not in text for part in (PAGE.encode(), b"GET /", b"HTTP/1.", b"nginx", b"curl"))
            self.tell.check(
                secret, f"{family}: {len(text)} bytes on the wire, nothing of the request or the page in them"
            )
        self._check_tls(wire)

    def service_no_longer_affirms(self) -> None:
        self.tell.step(
            "The service no longer affirms the server",
            f"A verdict ends with its token, at the latest after a minute; here tokens live {TOKEN_LIFE} s.",
        )
        self.tell.shell("client", "curl", "--json", '{"affirming": false}', f"http://{SERVICE}/sample/settings")
        self.scene.affirm(False)
        self._until_refused(TOKEN_LIFE + 10)
        self._refused("the service does not affirm")
        self.scene.affirm(True)
        self.tell.say("The service affirms again:")
        self._both_families_answer()

    def egress_without_attestation(self) -> None:
        self.tell.step(
            "An egress without attestation",
            "The server's tng is replaced by one that is configured with no_ra: same port, same TLS, no evidence.",
        )
        self._stop(self.scene.server, self.egress)
        document = {
            "add_egress": [
                {"netfilter": {"capture_dst": {"port": PORT}, "capture_local_traffic": True}, "no_ra": True},
            ],
        }
        config = tunnel.write_config(self.scene.server.state / "no_ra.json", document)
        self.tell.shell("server", "tng", "apply", config.name)
        self.egress = tunnel.apply(self.scene.server, config)
        self._refused("the egress shows no evidence")
        self._stop(self.scene.server, self.egress)
        self.egress = self._apply(self.scene.server)
        self.tell.say("The egress attests again:")
        self._both_families_answer()

    def ingress_killed(self) -> None:
        self.tell.step(
            "The ingress is killed with SIGKILL",
            "Nobody is left to clean up or to encrypt. The rules stay, and they let nothing out.",
        )
        self.tell.shell("client", "kill", "-KILL", str(self.ingress.pid))
        self.ingress.kill()
        with self.scene.wire() as wire:
            self._refused("the ingress is dead", logged=False)
        towards = [segment for segment in wire.segments if segment.destination_port == PORT]
        self.tell.check(not towards, "not leaked: not one packet for the server's port was on the wire, not even a SYN")
        self.tell.say("A new start replaces the rules that the killed run left:")
        self.ingress = self._apply(self.scene.client)
        self._both_families_answer()
        rules = sorted(self.scene.client.run("nft", "list", "tables").stdout.splitlines())
        self.tell.check(rules == TABLES, f"nothing is doubled: {rules}")

    def rules_flushed(self) -> None:
        self.tell.step(
            "Somebody flushes all rules of the client",
            "Debian's own /etc/nftables.conf begins with it. The guard stands a second time in a table that tng owns,"
            " and what was removed is loaded again.",
        )
        said = len(self.ingress.output())
        self.tell.shell("client", "nft", "flush", "ruleset")
        self.scene.client.run("nft", "flush", "ruleset")
        self.tell.show(self.ingress.wait_for(r".*event=rules_changed .*", after=said)[0])
        self.tell.show(self.ingress.wait_for(r".*event=rules_restored .*", after=said)[0])
        self._both_families_answer()

    def stopped_and_still_closed(self) -> None:
        self.tell.step(
            "The ingress is stopped with Ctrl-C",
            "An end is not an opening: a restart, an upgrade or a shutdown must not have a moment of plaintext.",
        )
        self._stop(self.scene.client, self.ingress, signal.SIGINT)
        self.tell.say("Its last word:")
        self.tell.show(self.ingress.output().splitlines()[-1])
        with self.scene.wire() as wire:
            self._refused("nobody serves and the rules stay", logged=False)
        towards = [segment for segment in wire.segments if segment.destination_port == PORT]
        self.tell.check(not towards, "not leaked: not one packet for the server's port was on the wire, not even a SYN")

    def clean_removal(self) -> None:
        self.tell.step(
            "tng down opens, and nothing is left",
            "Whether the run was stopped or killed: `tng down` ends what is still captured and removes the rules.",
        )
        self._down(self.scene.client)
        self.tell.shell("server", "kill", "-KILL", str(self.egress.pid))
        self.egress.kill()
        self._down(self.scene.server)
        for host in (self.scene.client, self.scene.server):
            self._nothing_left(host)
        self.tell.say("curl and nginx talk in plaintext again, as if nothing had been:")
        wire = self._both_families_answer()
        for family, text in self._on_the_wire(wire).items():
            self.tell.check(PAGE.encode() in text, f"{family}: the page is on the wire in plaintext again")

    def _apply(self, host: Host) -> Process:
        config = CLIENT_CONFIG if host is self.scene.client else SERVER_CONFIG
        self.tell.shell(host.name, "tng", "apply", config.name)
        return tunnel.apply(host, config)

    def _stop(self, host: Host, process: Process, number: signal.Signals = signal.SIGTERM) -> None:
        self.tell.shell(host.name, "kill", f"-{number.name.removeprefix('SIG')}", str(process.pid))
        process.popen.send_signal(number)
        status = process.wait()
        self.tell.check(status == 0, f"it drained and ended with status {status}; its rules stay")

    def _down(self, host: Host) -> None:
        self.tell.shell(host.name, "tng", "down")
        self.tell.show(host.run(tunnel.TNG, "down").stderr)

    def _both_families_answer(self) -> Wire:
        with self.scene.wire() as wire:
            for family, url in self.scene.urls().items():
                self.tell.shell("client", "curl", url)
                done = self.scene.curl(url)
                self.tell.show(done.stdout + done.stderr)
                self.tell.check(done.stdout == PAGE, f"{family}: curl got the page")
        return wire

    def _until_refused(self, seconds: float) -> None:
        began = time.monotonic()
        url = self.scene.urls()["IPv4"]
        while self.scene.curl(url).returncode == 0 and time.monotonic() < began + seconds:
            time.sleep(0.25)  # the end of a token is a point in time, not an event
        self.tell.say(f"The last verdict ended {time.monotonic() - began:.1f} s later.")

    def _refused(self, reason: str, *, logged: bool = True) -> None:
        before, said = len(self.scene.web.requests()), len(self.ingress.output())
        for family, url in self.scene.urls().items():
            self.tell.shell("client", "curl", url)
            done = self.scene.curl(url)
            self.tell.show(done.stdout + done.stderr)
            # curl(1): 7 refused, 52 empty reply, 55 and 56 connection reset
            self.tell.check(done.returncode in {7, 52, 55, 56}, f"{family}: refused, because {reason}")
        reached = len(self.scene.web.requests()) - before
        self.tell.check(reached == 0, f"{reached} requests reached nginx")
        if logged:
            self.tell.say("What the operator reads in the log of the ingress:")
            self.tell.show(self.ingress.wait_for(r".*event=refused .*", after=said)[0])

    def _on_the_wire(self, wire: Wire) -> dict[str, bytes]:
        joined = {"IPv4": b"", "IPv6": b""}
        for flow, stream in streams(wire.segments).items():
            if PORT in (flow[1], flow[3]):
                joined["IPv6" if ":" in flow[0] else "IPv4"] += stream
        return joined

    def _check_tls(self, wire: Wire) -> None:
        for (source, port, target, _), stream in streams(wire.segments).items():
            try:
                records = tls_records(stream)
            except ValueError as error:
                self.tell.check(False, f"{source} to {target}: {error}")
            else:
                what = "ServerHello" if port == PORT else "ClientHello"
                begin = stream[:6].hex(" ")
                text = f"{source} to {target}: {len(records)} TLS records, the first {begin} ({what})"
                self.tell.check(records[0][0] == 22 and records[-1][0] == 23, text)

    def _nothing_left(self, host: Host) -> None:
        self.tell.shell(host.name, "nft", "list", "ruleset")
        rules = host.run("nft", "list", "ruleset").stdout
        self.tell.show(rules)
        policy = [line.split()[-1] for line in host.run("ip", "rule").stdout.splitlines()]
        locks = host.run("find", "/run/tng", check=False).stdout
        self.tell.check(rules == "", f"{host.name}: no rule of netfilter")
        self.tell.check(
            policy == ["local", "main", "default"], f"{host.name}: the routing rules of every fresh host: {policy}"
        )
        self.tell.check(locks == "", f"{host.name}: no lock file")


def _folded(ruleset: str) -> str:
    """The comments of long rules on a line of their own."""
    lines = ruleset.expandtabs(4).splitlines()
    return "\n".join(
        line.replace(' comment "', '\n            comment "') if len(line) > 96 else line for line in lines
    )


def main() -> None:
    """Run the tour; exit status 0 if every claim holds."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.split("\n", 1)[0] if __doc__ else None)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--keep", action="store_true", help="leave the hosts up, with the tunnel applied, to play with")
    choice.add_argument("--remove", action="store_true", help="remove the hosts that --keep left")
    choice.add_argument(
        "--on", metavar="HOST", choices=("client", "server"), help="run COMMAND on a host that --keep left"
    )
    parser.add_argument(
        "command", metavar="COMMAND", nargs=argparse.REMAINDER, help="with --on: a program and its arguments"
    )
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("scripts/demo builds network namespaces and needs root: sudo scripts/demo")
    try:
        if arguments.on:
            command = labs.command_on(KEPT, arguments.on, *(arguments.command or ["bash"]))
            os.execvp(command[0], command)
        if arguments.remove:
            labs.remove(KEPT)
            return
        # A signal becomes an exception, so that the hosts are taken away.
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
        with lab("client", "server", name=KEPT if arguments.keep else None) as built:
            sys.exit(_tour(built, keep=arguments.keep))
    except (LabError, ProcessError, subprocess.SubprocessError) as error:
        sys.exit(f"the tour cannot go on: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _tour(built: Lab, *, keep: bool) -> int:
    narrator = Narrator()
    tour = Tour(set_up(built), narrator)
    tour.run()
    if narrator.failures:
        print("\nNOT EVERYTHING HOLDS:\n  " + "\n  ".join(narrator.failures))
    else:
        print("\nEverything holds.")
    if keep:
        tour.apply()
        built.keep()
        print(_how_to_play(tour.scene))
    return 1 if narrator.failures else 0


def _how_to_play(scene: Scene) -> str:
    return f"""
The hosts stay up, with the tunnel applied. To play with them:
  scripts/demo --on client curl {scene.urls()["IPv4"]}
  scripts/demo --on client tcpdump -ni eth0 -A tcp port {PORT}
  scripts/demo --on client curl --json '{{"affirming": false}}' http://{SERVICE}/sample/settings
  scripts/demo --on client nft list ruleset
  scripts/demo --on server ls -lR /run
  scripts/demo --on server            (a shell)
Logs: {scene.client.state}/*.log
      {scene.server.state}/*.log
Take them away with: scripts/demo --remove"""


if __name__ == "__main__":
    main()
