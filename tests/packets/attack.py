"""What attacks on the rules have in common: a host with rules and with listeners that are ours, and what its wire saw.

``host`` (10.77.0.1, fd77::1) carries the rules, ``peer`` (10.77.0.2, fd77::2) is the neighbour. Listeners carry the
mark of their entry from before bind, as those of the runtime do.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from packets.wire import FAMILIES, Responder
from tng_compiler.emit import iptables, nft
from tng_compiler.model.types import Config
from tng_compiler.plan.build import build_plan
from tng_compiler.plan.types import Plan
from tng_demo.lab import INTERFACE, Host, Lab, lab

BACKENDS = ("nft", "iptables")
MARK = 565
HOST = {"ipv4": "10.77.0.1", "ipv6": "fd77::1"}
PEER = {"ipv4": "10.77.0.2", "ipv6": "fd77::2"}
LOOPBACK = {"ipv4": "127.0.0.1", "ipv6": "::1"}
SERVICES = (22, 8080, 9000)
DEADLINE = 10.0
"""Seconds after which an event that must come is given up; the machine may be busy."""

_ETH_P_ALL = 3  # linux/if_ether.h
_ETH_P_FENCE = 0x88B5  # IEEE 802, for local experiments: no rule and no stack takes it
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h
_PACKET_OUTGOING = 4  # linux/if_packet.h


def plan_of(document: Config) -> Plan:
    """The plan of a document without faults."""
    plan, found = build_plan(document, "0" * 64)
    assert [item for item in found if item.severity.value == "error"] == []
    return plan


@dataclass(frozen=True, slots=True)
class Scene:
    """The two hosts, who answers on them, and what is to be loaded on ``host``."""

    hosts: Lab
    responder: Responder
    plan: Plan
    backend: str

    @property
    def host(self) -> Host:
        """The host under the rules."""
        return self.hosts["host"]

    @property
    def peer(self) -> Host:
        """The neighbour."""
        return self.hosts["peer"]

    def load(self) -> None:
        """Load the rules, as a reader of the documents would: by ``nft -f`` or ``sh``."""
        self.host.run(*(("nft", "-f", "-") if self.backend == "nft" else ("sh",)), stdin=rendered(self))

    def table(self, text: str) -> None:
        """Load a table of somebody else on ``host``."""
        self.host.run("nft", "-f", "-", stdin=text)

    def listen(self) -> None:
        """Serve the listen ports of the plan by sockets with the mark of their entry."""
        for one in self.plan.entries:
            for family in FAMILIES:
                sock = made(self.host, family, one.so_mark)
                self.responder.listen(self.host, family, one.listen_port, sock, proxy=True)


def rendered(scene_: Scene) -> str:
    """The rules of the scene as text; without the lines that ``WITHOUT`` names (tests/packets/test_clauses.py)."""
    text = nft.render(scene_.plan) if scene_.backend == "nft" else iptables.render(scene_.plan)
    return re.sub(os.environ[WITHOUT], "", text) if WITHOUT in os.environ else text


WITHOUT = "TNG_TEST_WITHOUT_RULES"


@contextlib.contextmanager
def scene(document: Config, backend: str = "nft", *, listeners: bool = True, services: bool = True) -> Iterator[Scene]:
    """Hosts with services on both (not on ``host`` without ``services``), and listeners. Nothing is loaded yet."""
    with lab("host", "peer") as hosts, Responder() as responder:
        built = Scene(hosts, responder, plan_of(document), backend)
        for family in FAMILIES:
            for port in SERVICES:
                responder.listen(built.peer, family, port, proxy=False)
                if services:
                    responder.listen(built.host, family, port, proxy=False)
        if listeners:
            built.listen()
        yield built


def made(host: Host, family: str, mark: int = 0, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket on ``host`` that carries ``mark``, with a deadline."""
    with host.inside():
        sock = socket.socket(FAMILIES[family], kind)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    sock.settimeout(DEADLINE)
    return sock


def from_port(host: Host, family: str, port: int, mark: int = 0) -> socket.socket:
    """A socket that will connect from ``port``, although a connection of before may still be remembered there."""
    sock = made(host, family, mark)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    return sock


def spoken(sock: socket.socket, address: str, port: int, scope: int = 0, words: bytes = b"hello") -> str:
    """Connect, say ``words``, and return the answer, ``refused`` or ``silence``; the socket is closed."""
    with sock:
        try:
            sock.connect((address, port, 0, scope) if sock.family == socket.AF_INET6 else (address, port))
            sock.send(words)
            return sock.recv(200).decode() or "closed"
        except TimeoutError:
            return "silence"
        except OSError as error:
            return "refused" if error.errno in REFUSALS else f"{error}"


REFUSALS = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.EACCES, errno.EPERM, errno.ENETUNREACH} | {
    errno.EHOSTUNREACH
}


def await_until(what: str, happened: Callable[[], bool], deadline: float = DEADLINE) -> None:
    """Ask the kernel again and again for what no event announces."""
    end = time.monotonic() + deadline
    while not happened():
        assert time.monotonic() < end, f"it did not happen in {deadline} s: {what}"
        time.sleep(0.02)


def sysctl(host: Host, **values: str) -> None:
    """Set values below /proc/sys/net of ``host``; names have __ for the slash."""
    for name, value in values.items():
        path = f"/proc/sys/net/{name.replace('__', '/')}"
        host.run("sh", "-c", 'echo "$1" > "$2"', "sh", value, path)


def conntrack(host: Host) -> str:
    """Every connection that ``host`` remembers, as text."""
    return host.run("cat", "/proc/net/nf_conntrack").stdout


@dataclass(slots=True)
class Wire:
    """Everything that left ``host`` through its eth0, seen from the other end of the cable."""

    host: Host
    sniffer: socket.socket
    frames: list[bytes] = field(default_factory=list)

    def seen(self) -> list[bytes]:
        """The frames until now: what was sent before this call is among them."""
        fence = os.urandom(32)
        inject(self.host, b"\xff" * 6, _ETH_P_FENCE, fence)
        end = time.monotonic() + DEADLINE
        while True:
            assert time.monotonic() < end, "the wire lost a frame"
            frame, (_, _, kind, *_) = self.sniffer.recvfrom(1 << 17)
            if kind == _PACKET_OUTGOING:
                continue
            if fence in frame:
                return self.frames
            self.frames.append(frame)

    def carried(self, words: bytes) -> bool:
        """Whether ``words`` were in any frame."""
        return any(words in frame for frame in self.seen())

    def segments(self, source: str, source_port: int) -> list[int]:
        """The flags of every TCP segment from there."""
        return [flags for frame in self.seen() for flags in _flags(frame, source, source_port)]


@contextlib.contextmanager
def wire(scene_: Scene) -> Iterator[Wire]:
    """Watch what leaves the host."""
    with scene_.peer.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sniffer:
        sniffer.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
        sniffer.bind((INTERFACE, _ETH_P_ALL))
        sniffer.settimeout(DEADLINE)
        yield Wire(scene_.host, sniffer)


def inject(sender: Host, target: bytes, ethertype: int, packet: bytes) -> None:
    """Put one Ethernet frame onto the cable, past the stack and the rules of ``sender``."""
    with sender.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((INTERFACE, 0))
        raw.send(target + raw.getsockname()[4] + ethertype.to_bytes(2) + packet)


def hardware_address(host: Host) -> bytes:
    """The MAC address of the host's eth0."""
    with host.inside(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as raw:
        raw.bind((INTERFACE, 0))
        address = raw.getsockname()[4]
        assert isinstance(address, bytes)
        return address


def index_of(host: Host, interface: str = INTERFACE) -> int:
    """The number of an interface, which is the scope of its link-local addresses."""
    with host.inside():
        return socket.if_nametoindex(interface)


def link_local(host: Host) -> str:
    """The link-local address of the host's eth0, which the kernel gives it a moment after the cable is plugged in."""
    argv = ("ip", "-6", "-o", "addr", "show", "dev", INTERFACE, "scope", "link", "-tentative")
    await_until("an address", lambda: "inet6" in host.run(*argv).stdout)
    words = host.run(*argv).stdout.split()
    return words[words.index("inet6") + 1].split("/")[0]


@contextlib.contextmanager
def namespace(scene_: Scene, name: str) -> Iterator[Host]:
    """One more host without cables; it goes with the lab."""
    space = f"tng-{scene_.hosts.name}-{name}"
    subprocess.run(["ip", "netns", "add", space], check=True)
    state = scene_.host.state.parent / name
    (state / "run").mkdir(parents=True)
    yield Host(name, space, "", "", state)


def cable(left: Host, left_name: str, right: Host, right_name: str) -> None:
    """Join two hosts by one more cable, by interfaces of these names that are down and have no addresses."""
    ends = (("dev", left_name, "netns", left.namespace), ("name", right_name, "netns", right.namespace))
    subprocess.run(["ip", "link", "add", *ends[0], "type", "veth", "peer", *ends[1]], check=True)


def _flags(frame: bytes, source: str, source_port: int) -> Iterator[int]:
    """Yield the TCP flags (RFC 9293, 3.1) of an Ethernet frame, if it is from there."""
    four = frame[12:14] == b"\x08\x00"
    if not four and frame[12:14] != b"\x86\xdd":
        return
    packet = frame[14:]
    address, protocol = (packet[12:16], packet[9]) if four else (packet[8:24], packet[6])
    segment = packet[(packet[0] & 15) * 4 :] if four else packet[40:]
    wanted = socket.inet_pton(socket.AF_INET6 if ":" in source else socket.AF_INET, source)
    if protocol == socket.IPPROTO_TCP and address == wanted and int.from_bytes(segment[:2]) == source_port:
        yield segment[13]
