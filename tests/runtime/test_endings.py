"""How relayed connections end when a gateway dies, when nobody speaks for long, and what urgent bytes become.

Both gateways are real processes; the sockets' options are read from inside of them (pidfd_getfd(2)).
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from runtime.kernel.test_liveness import expected, options
from runtime.tunnels import Tunnel, ends
from tng_demo.process import Process
from tng_runtime.kernel.liveness import LIVENESS

pytestmark = pytest.mark.netns

PATIENCE = 60.0
_PIDFD_GETFD = 438

__all__ = ["ends"]


@contextmanager
def sockets_of(process: Process) -> Iterator[list[socket.socket]]:
    """Copies of the connected TCP sockets of a program's processes."""
    found: list[socket.socket] = []
    try:
        for pid in process.all_pids():
            for sock in copied(pid):
                if sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM and connected(sock):
                    found.append(sock)
                else:
                    sock.close()
        yield found
    finally:
        for sock in found:
            sock.close()


def copied(pid: int) -> Iterator[socket.socket]:
    """Copies of the sockets of one process."""
    system = ctypes.CDLL(None, use_errno=True).syscall
    pidfd = os.pidfd_open(pid)
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            if os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:"):
                descriptor = system(_PIDFD_GETFD, pidfd, int(name), 0)
                assert descriptor >= 0, os.strerror(ctypes.get_errno())
                yield socket.socket(fileno=descriptor)
    finally:
        os.close(pidfd)


def connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def test_every_socket_of_a_relayed_connection_is_made_for_its_end(ends: Tunnel) -> None:
    """Accepted and dialled, of ingress and egress."""
    gateways = [ends.start("server"), ends.start("client")]
    near, far = ends.connect()
    with near, far:
        for gateway in gateways:
            with sockets_of(gateway) as found:
                assert len(found) == 2
                assert [options(sock) for sock in found] == [expected(LIVENESS)] * 2


def pump(sock: socket.socket, stop: threading.Event) -> Callable[[], None]:
    def send() -> None:
        while not stop.is_set():
            try:
                sock.sendall(bytes(1 << 16))
            except OSError:
                return

    return send


def fate(sock: socket.socket) -> str:
    """How a connection ends for who reads from it: ``end`` or ``reset``."""
    sock.settimeout(PATIENCE)
    try:
        while sock.recv(1 << 20):
            pass
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    return "end"


@pytest.mark.parametrize("downwards", [False, True], ids=["up", "down"])
@pytest.mark.parametrize("dies", ["client", "server"])
def test_a_gateway_that_is_killed_in_mid_transfer_ends_nothing_cleanly(
    ends: Tunnel, dies: str, downwards: bool
) -> None:
    """A file that was cut must not pass for a whole one, at either end, whichever way it went."""
    gateways = {host: ends.start(host) for host in ("server", "client")}
    near, far = ends.connect()
    with near, far:
        sender, reader = (far, near) if downwards else (near, far)
        stop = threading.Event()
        thread = threading.Thread(target=pump(sender, stop))
        thread.start()
        try:
            got = 0
            reader.settimeout(PATIENCE)
            while got < 10_000_000:
                got += len(reader.recv(1 << 20))
            gateways[dies].popen.send_signal(signal.SIGKILL)
            assert fate(reader) == "reset"
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the sender was told nothing"
        finally:
            stop.set()
            thread.join(1)


@pytest.mark.parametrize("half", ["client", "server"])
@pytest.mark.parametrize("dies", ["client", "server"])
def test_a_gateway_that_is_killed_in_a_half_closed_connection_resets_it(ends: Tunnel, dies: str, half: str) -> None:
    """Whichever end has said already that it is done."""
    gateways = {host: ends.start(host) for host in ("server", "client")}
    near, far = ends.connect()
    with near, far:
        done, waits = (near, far) if half == "client" else (far, near)
        done.shutdown(socket.SHUT_WR)
        waits.settimeout(PATIENCE)
        assert waits.recv(1) == b""
        gateways[dies].popen.send_signal(signal.SIGKILL)
        assert fate(done) == "reset"
        poll = select.poll()
        poll.register(waits, 0)
        assert poll.poll(PATIENCE * 1000), "who may still write was told nothing"
        assert waits.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNRESET, errno.EPIPE)


@pytest.mark.parametrize("downwards", [False, True], ids=["up", "down"])
def test_a_connection_that_ended_cleanly_loses_nothing_when_the_gateways_exit(ends: Tunnel, downwards: bool) -> None:
    """The reader begins when both are gone: all of it lies in the send queue of a socket that nobody has open."""
    gateways = [ends.start("server"), ends.start("client")]
    near, far = ends.connect()
    with near, far:
        sender, reader = (far, near) if downwards else (near, far)
        reader.shutdown(socket.SHUT_WR)
        sender.settimeout(PATIENCE)
        assert sender.recv(1) == b""
        sent = 400_000
        sender.sendall(bytes(sent))
        sender.shutdown(socket.SHUT_WR)
        for gateway in gateways:
            gateway.wait_for(r"\bevent=closed\b", PATIENCE)
        for gateway in gateways:
            gateway.kill()
        arrived = struct.unpack("i", fcntl.ioctl(reader, termios.FIONREAD, bytes(4)))[0]
        assert arrived < sent, "nothing was left in a queue: this proves nothing"
        got = 0
        reader.settimeout(PATIENCE)
        while part := reader.recv(1 << 20):
            got += len(part)
        assert got == sent


@pytest.mark.parametrize("downwards", [False, True], ids=["up", "down"])
def test_an_urgent_byte_is_relayed_where_it_stands(ends: Tunnel, downwards: bool) -> None:
    """And what follows it does not wait for anything else to come."""
    ends.start("server")
    ends.start("client")
    near, far = ends.connect()
    with near, far:
        sender, reader = (far, near) if downwards else (near, far)
        reader.settimeout(PATIENCE)
        for number in range(50):
            sender.sendall(b"a")
            sender.send(b"!", socket.MSG_OOB)
            sender.sendall(b"z")
            got = b""
            while len(got) < 3:
                part = reader.recv(3 - len(got))
                assert part
                got += part
            assert got == b"a!z", number
