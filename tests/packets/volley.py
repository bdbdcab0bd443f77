"""Many flows at once over three hosts, and what became of each: who accepted it, or that somebody refused it.

``host`` carries the rules. ``peer`` has every address of 10.80.0.0/16 and fd80::/48, and answers on every port;
``host`` has those of 10.81.0.0/16 and fd81::/48, with services on ``PORTS``. ``guest`` reaches ``peer`` through
``host``. Each connection begins with the number of its shot, so that who reads it knows which one arrived.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from packets.cgroups import cgroups, with_cgroups
from packets.drawn import APP, CGROUPS, JOB, OTHER, PORTS, SERVICE_CGROUPS, Drawn, Shot
from packets.wire import FAMILIES
from tng_demo.lab import Host, Lab, lab

DEADLINE = 20.0
"""Seconds after which an answer that must come is given up; the machine may be busy."""
AGAIN = 1.0
"""Seconds after which a datagram without an answer is sent again: ICMP errors may be limited in number (icmp(7))."""
ANSWERED = 7000
_KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
_EVERYTHING = f"""table inet everything {{ chain in {{ type nat hook prerouting priority -100;
  meta l4proto tcp redirect to :{ANSWERED}; meta l4proto udp redirect to :{ANSWERED}; }}; }}"""
# Joins the cgroup once, then makes sockets for whoever asks: the kernel notes a socket's cgroup when it is made.
_MAKER = """
import os, socket, sys
path, channel = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
with open(f"/sys/fs/cgroup/{path}/cgroup.procs", "w") as procs:
    procs.write(str(os.getpid()))
while wanted := channel.recv(2):
    made = socket.socket(wanted[0], wanted[1])
    socket.send_fds(channel, [b"x"], [made.fileno()])
    made.close()
"""


@dataclass(slots=True)
class Ground:
    """The hosts, and makers of sockets in each cgroup of ``host``."""

    hosts: Lab
    makers: dict[str, socket.socket] = field(default_factory=dict)
    services: list[socket.socket] = field(default_factory=list)

    def make(self, host: Host, family: str, protocol: str, cgroup: str = "") -> socket.socket:
        """A socket on ``host``, not blocking."""
        if cgroup:
            channel = self.makers[cgroup]
            channel.send(bytes((FAMILIES[family], _KINDS[protocol])))
            _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
            made = socket.socket(fileno=descriptors[0])
        else:
            with host.inside():
                made = socket.socket(FAMILIES[family], _KINDS[protocol])
        made.setblocking(False)
        return made

    def serve(
        self, host: Host, family: str, protocol: str, port: int, cgroup: str = "", mark: int = 0
    ) -> socket.socket:
        """A socket that has ``port`` at every address."""
        made = self.make(host, family, protocol, cgroup)
        if family == "ipv6":
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mark:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        made.bind(("::" if family == "ipv6" else "0.0.0.0", port))
        if protocol == "tcp":
            made.listen(256)
        return made


@contextlib.contextmanager
def ground() -> Iterator[Ground]:
    """Build the hosts; nothing is loaded on ``host``."""
    with cgroups(APP, JOB, OTHER), lab("host", "peer", "guest") as hosts, contextlib.ExitStack() as stack:
        built = Ground(hosts)
        _routes(hosts)
        for cgroup in CGROUPS[1:]:
            built.makers[cgroup] = stack.enter_context(_maker(hosts["host"], cgroup))
        for family in FAMILIES:
            for protocol in _KINDS:
                built.services.append(built.serve(hosts["peer"], family, protocol, ANSWERED))
                for port, cgroup in SERVICE_CGROUPS.items():
                    built.services.append(built.serve(hosts["host"], family, protocol, port, cgroup))
        for service in built.services:
            stack.callback(service.close)
        for other in (hosts["peer"], hosts["guest"]):
            # The neighbours know each other before many packets wait for one answer.
            for address in (hosts["host"].ipv4, hosts["host"].ipv6):
                with other.inside():
                    socket.create_connection((address, PORTS[0]), DEADLINE).close()
        yield built


def _routes(hosts: Lab) -> None:
    host, peer, guest = hosts["host"], hosts["peer"], hosts["guest"]
    for owner, net4, net6 in ((peer, "10.80.0.0/16", "fd80::/48"), (host, "10.81.0.0/16", "fd81::/48")):
        owner.run("ip", "route", "add", "local", net4, "dev", "lo")
        owner.run("ip", "-6", "route", "add", "local", net6, "dev", "lo")
    for sender, via, net4, net6 in (
        (host, peer, "10.80.0.0/16", "fd80::/48"),
        (guest, host, "10.80.0.0/16", "fd80::/48"),
        (peer, host, "10.81.0.0/16", "fd81::/48"),
        (peer, host, f"{guest.ipv4}/32", f"{guest.ipv6}/128"),
    ):
        sender.run("ip", "route", "add", net4, "via", via.ipv4)
        sender.run("ip", "-6", "route", "add", net6, "via", via.ipv6)
    peer.run("nft", "-f", "-", stdin=_EVERYTHING)
    settings = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.send_redirects=0"
    settings += " net.ipv4.conf.eth0.send_redirects=0 net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0"
    host.run("sysctl", "-qw", *settings.split())
    for other in (peer, guest):
        other.run("sysctl", "-qw", "net.ipv4.conf.eth0.accept_redirects=0", "net.ipv6.conf.eth0.accept_redirects=0")


@contextlib.contextmanager
def _maker(host: Host, cgroup: str) -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-c", _MAKER, cgroup, str(theirs.fileno())]
    argv = ["nsenter", f"--net=/run/netns/{host.namespace}", *with_cgroups(argv)]
    with ours, subprocess.Popen(argv, pass_fds=[theirs.fileno()]) as maker:
        theirs.close()
        try:
            yield ours
        finally:
            ours.close()
            maker.wait(DEADLINE)


@contextlib.contextmanager
def listeners(built: Ground, drawn: Drawn) -> Iterator[dict[socket.socket, str]]:
    """What has the listen ports of the plan: the runtime, nobody, or a stranger. By socket, what to say of it."""
    found: dict[socket.socket, str] = {}
    if drawn.runtime != "down":
        for entry in drawn.plan.entries:
            mark = entry.so_mark if drawn.runtime == "up" else 0
            for family in FAMILIES:
                made = built.serve(built.hosts["host"], family, "tcp", entry.listen_port, mark=mark)
                found[made] = f"captured {entry.listen_port}"
    try:
        yield found
    finally:
        for each in found:
            each.close()


@contextlib.contextmanager
def opened(built: Ground, shots: Sequence[Shot]) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Connections of ``shots``, both ends, made while no rules of ours are loaded."""
    with contextlib.ExitStack() as stack:
        ends: dict[int, socket.socket] = {}
        near = [stack.enter_context(_connecting(built, shot)) for shot in shots]
        with selectors.DefaultSelector() as selector:
            for service in built.services:
                if service.type == socket.SOCK_STREAM:
                    selector.register(service, selectors.EVENT_READ)
            for number, sock in enumerate(near):
                selector.register(sock, selectors.EVENT_WRITE, number)
            end = time.monotonic() + DEADLINE
            while len(ends) < len(shots):
                assert time.monotonic() < end, "connections without rules come about"
                for key, _ in selector.select(AGAIN):
                    assert isinstance(key.fileobj, socket.socket)
                    if key.data is not None and key.events == selectors.EVENT_WRITE:
                        key.fileobj.send(key.data.to_bytes(4, "big"))
                        selector.unregister(key.fileobj)
                    elif key.data is None:
                        accepted = stack.enter_context(key.fileobj.accept()[0])
                        accepted.setblocking(False)
                        selector.register(accepted, selectors.EVENT_READ, -1)
                    else:
                        if said := key.fileobj.recv(4):  # nothing: a connection of before, closed since
                            ends[int.from_bytes(said, "big")] = key.fileobj
                        selector.unregister(key.fileobj)
        yield [(sock, ends[number]) for number, sock in enumerate(near)]


def _connecting(built: Ground, shot: Shot) -> socket.socket:
    sender = built.hosts[{"in": "peer", "through": "guest"}.get(shot.way, "host")]
    sock = built.make(sender, shot.family, "tcp", shot.cgroup if shot.way in ("out", "within") else "")
    # A reset instead of a long farewell.
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if shot.mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, shot.mark)
    with contextlib.suppress(BlockingIOError):
        sock.connect((shot.address, shot.port))
    return sock


def goes_on(pairs: Sequence[tuple[socket.socket, socket.socket]]) -> list[str]:
    """The first end of each pair speaks, the second answers: "passed" or "refused", if an end breaks."""
    found = ["silence"] * len(pairs)
    left = set(range(len(pairs)))
    with selectors.DefaultSelector() as selector:
        for number, (speaker, hearer) in enumerate(pairs):
            selector.register(speaker, selectors.EVENT_READ, (number, True))
            selector.register(hearer, selectors.EVENT_READ, (number, False))
            with contextlib.suppress(OSError):
                speaker.send(b"asked")
        end = time.monotonic() + DEADLINE
        while left and time.monotonic() < end:
            for key, _ in selector.select(AGAIN):
                number, speaks = key.data
                assert isinstance(key.fileobj, socket.socket)
                try:
                    said = key.fileobj.recv(100)
                    if said and not speaks:
                        key.fileobj.send(b"answered")
                        continue
                except OSError:
                    said = b""
                selector.unregister(key.fileobj)
                if number in left:
                    left.discard(number)
                    found[number] = "passed" if said else "refused"
    return found


def volley(built: Ground, ours: dict[socket.socket, str], shots: Sequence[Shot]) -> list[str]:
    """Send all ``shots`` at once; return "captured PORT", "passed", "refused" or "silence" for each."""
    return _Volley(built, ours, shots).run()


class _Volley:
    def __init__(self, built: Ground, ours: dict[socket.socket, str], shots: Sequence[Shot]) -> None:
        self._found: list[str] = ["silence"] * len(shots)
        self._open = set(range(len(shots)))
        self._shots = shots
        self._built = built
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        self._datagrams: list[tuple[int, socket.socket]] = []
        for service in built.services:
            self._selector.register(service, selectors.EVENT_READ, "passed")
        for listener, words in ours.items():
            self._selector.register(listener, selectors.EVENT_READ, words)

    def run(self) -> list[str]:
        try:
            for number, shot in enumerate(self._shots):
                self._fire(number, shot)
            end, again = time.monotonic() + DEADLINE, time.monotonic() + AGAIN
            while self._open and time.monotonic() < end:
                for key, _ in self._selector.select(AGAIN):
                    assert isinstance(key.fileobj, socket.socket)
                    self._ready(key.fileobj, key.data)
                if time.monotonic() > again:
                    again = time.monotonic() + AGAIN
                    for number, sock in self._datagrams:
                        if number in self._open:
                            self._speak(number, sock)
        finally:
            self._selector.close()
            for sock in self._sockets:
                # A reset instead of a long farewell: the next volley finds nothing left of this one.
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
        return self._found

    def _fire(self, number: int, shot: Shot) -> None:
        sender = self._built.hosts[{"in": "peer", "through": "guest"}.get(shot.way, "host")]
        cgroup = shot.cgroup if shot.way in ("out", "within") else ""
        sock = self._built.make(sender, shot.family, shot.protocol, cgroup)
        self._sockets.append(sock)
        if shot.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, shot.mark)
        try:
            sock.connect((shot.address, shot.port))
        except BlockingIOError:
            pass
        except OSError:
            self._settle(number, "refused")
            return
        if shot.protocol == "udp":
            self._datagrams.append((number, sock))
            self._speak(number, sock)
            self._selector.register(sock, selectors.EVENT_READ, number)
        else:
            self._selector.register(sock, selectors.EVENT_WRITE, number)

    def _ready(self, sock: socket.socket, data: object) -> None:
        if isinstance(data, int):
            if error := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                assert error
                self._settle(data, "refused")
            elif sock.type == socket.SOCK_STREAM:
                self._speak(data, sock)
            self._selector.unregister(sock)
            return
        if isinstance(data, str) and sock.type == socket.SOCK_STREAM:
            with contextlib.suppress(OSError):
                accepted, _ = sock.accept()
                accepted.setblocking(False)
                self._sockets.append(accepted)
                self._selector.register(accepted, selectors.EVENT_READ, (data,))
            return
        words = data[0] if isinstance(data, tuple) else data
        try:
            said = sock.recv(4)
        except OSError:
            said = b""
        if isinstance(data, tuple):
            self._selector.unregister(sock)
        if len(said) == 4:
            self._settle(int.from_bytes(said, "big"), str(words))

    def _speak(self, number: int, sock: socket.socket) -> None:
        try:
            sock.send(number.to_bytes(4, "big"))
        except OSError:
            self._settle(number, "refused")

    def _settle(self, number: int, words: str) -> None:
        """The first word counts; two different ones would be two fates of one flow."""
        if number in self._open:
            self._open.discard(number)
            self._found[number] = words
