"""A connection of our own, made to be captured: does it arrive at our listener?

Rules that are loaded can be undone by others: a firewall that drops what was redirected, a nat chain that comes first.
Then everything captured is refused, and nobody knows why. So before anybody is let in, a socket without our mark
connects to a destination that an entry captures. The kernel shows who got it (sock_diag(7)): a socket at the listen
port whose peer is ours. It waits to be accepted, is never accepted by us, and is reset, so nothing is relayed; whoever
accepts it finds that its client has left.

No packet of it leaves the host: it is redirected on the output hook, or refused by the guard.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import anyio

from tng_runtime import log
from tng_runtime.errors import HostError
from tng_runtime.kernel import diag
from tng_runtime.kernel.liveness import break_off

NONE = "none"
DEADLINE_SECONDS = 5.0
_FORM = re.compile(r"(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([0-9]{1,5})=([0-9]{1,5})")
_NO_ROUTE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EACCES)


class ProbeFailedError(HostError):
    """A connection that is captured does not arrive."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A destination that the entry with ``listen_port`` captures."""

    host: str
    port: int
    listen_port: int

    @property
    def family(self) -> socket.AddressFamily:
        """Of its address."""
        return socket.AF_INET6 if ":" in self.host else socket.AF_INET


def parse(text: str) -> Probe | None:
    """Read ``ADDRESS:PORT=LISTEN_PORT``; None for ``none``. Raises ``ValueError``."""
    if text == NONE:
        return None
    found = _FORM.fullmatch(text)
    ports = (int(found[3]), int(found[4])) if found else (0, 0)
    if found is None or not all(0 < port <= 0xFFFF for port in ports):
        raise ValueError(f"not a probe: {text}")
    return Probe(str(ip_address(found[1] or found[2])), *ports)


async def run(probes: Sequence[Probe | None]) -> None:
    """Try each; raises ``ProbeFailedError`` for the first that does not arrive. What cannot be tried is logged."""
    for probe in probes:
        if probe is None:
            log.info("probe_skipped", reason="no captured connection can be made from here")
        elif (reason := await _try(probe)) is not None:
            log.info("probe_skipped", destination=f"{probe.host}:{probe.port}", reason=reason)
        else:
            log.info("probed", destination=f"{probe.host}:{probe.port}", listen_port=probe.listen_port)


async def _try(probe: Probe) -> str | None:
    """None if it arrived, else why it could not be made."""
    if (reason := _no_way(probe)) is not None:
        return reason
    with socket.socket(probe.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        break_off(sock)
        problem = sock.connect_ex((probe.host, probe.port))
        if problem == errno.EINPROGRESS:
            with anyio.move_on_after(DEADLINE_SECONDS):
                await anyio.wait_writable(sock)
            problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            raise _failed(probe, os.strerror(problem))
        try:
            there = sock.getpeername()[:2], sock.getsockname()[:2]
        except OSError:
            raise _failed(probe, f"nothing came back in {DEADLINE_SECONDS:g} s") from None
        if there[0] != (probe.host, probe.port) or not _arrived(probe, there[1]):
            raise _failed(probe, "somebody else has answered it")
    return None


def _no_way(probe: Probe) -> str | None:
    """Why this host cannot send there, or would send it to itself where that is not captured."""
    with socket.socket(probe.family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((probe.host, probe.port))  # sends nothing: the kernel looks for a route (udp(7))
        except OSError as error:
            if error.errno in _NO_ROUTE:
                return f"there is no route to it: {error.strerror}"
            raise
        if sock.getsockname()[0] == probe.host and not ip_address(probe.host).is_loopback:
            return "it is an address of this host"
    return None


def _arrived(probe: Probe, client: tuple[str, int]) -> bool:
    """Whether a socket at the listen port has our client as its peer."""
    return any(found.local[1] == probe.listen_port and found.remote == client for found in diag.sockets(diag.CONNECTED))


def _failed(probe: Probe, problem: str) -> ProbeFailedError:
    return ProbeFailedError(
        f"a connection to {probe.host}:{probe.port}, which is captured, does not arrive at port {probe.listen_port}: "
        f"{problem}",
        hint=f"let the host's firewall accept what is redirected (input hook, tcp dport {probe.listen_port}), and look "
        "for nat chains of others (`tng doctor`)",
    )
