"""Real TCP between two hosts, and what became of it: captured by which listener, passed, or reset.

Services and listeners are sockets of this process that live in the network namespaces of a lab. Each answers the first
bytes of a connection with its own port and, on a listener, with the original destination that the kernel remembers
(SO_ORIGINAL_DST of ip(7), IP6T_SO_ORIGINAL_DST of linux/netfilter_ipv6/ip6_tables.h).
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tng_demo.lab import Host

FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}
SO_ORIGINAL_DST = 80
SECRET = b"in plaintext"
# A SYN that meets a link which is not up yet is sent again after 1, 2 and 4 s.
PATIENCE = 10.0


@dataclass(slots=True)
class Conversation:
    """The accepted end of a connection and everything that came out of it."""

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)
    broken: bool = False


class Responder:
    """Accepts on any number of sockets in one thread and answers each connection's first bytes."""

    def __init__(self) -> None:
        self.accepted: dict[tuple[str, int], Conversation] = {}
        # Also those whose source was used again: each is closed in the end, and by nobody else.
        self._conversations: list[Conversation] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = socket.socketpair()
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._changed = threading.Condition()

    def __enter__(self) -> Responder:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._waker.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()
        for conversation in self._conversations:
            conversation.connection.close()

    def listen(
        self, host: Host, family: str, port: int, sock: socket.socket | None = None, *, proxy: bool, mark: int = 0
    ) -> None:
        """Serve ``port`` on ``host``; ``proxy``: as a listener that is reached by redirect, else as a service."""
        if sock is None:
            with host.inside():
                sock = socket.socket(FAMILIES[family], socket.SOCK_STREAM)
        if family == "ipv6":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
        sock.bind(("::" if family == "ipv6" else "0.0.0.0", port))
        sock.listen(64)
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, (family, port, proxy))

    def conversation(self, source: tuple[str, int]) -> Conversation:
        """The accepted end of the connection that came from ``source``; awaits its acceptance."""
        with self._changed:
            assert self._changed.wait_for(lambda: source in self.accepted, PATIENCE), f"nobody accepted {source}"
            return self.accepted[source]

    def wait_until(self, what: Conversation, expected: bytes, patience: float = PATIENCE) -> bool:
        """Whether ``expected`` comes out of the conversation before it breaks or patience ends."""
        with self._changed:
            self._changed.wait_for(lambda: expected in what.received or what.broken, patience)
            return expected in what.received

    def breaks(self, what: Conversation, patience: float = PATIENCE) -> bool:
        """Whether the conversation ends before ``patience`` does."""
        with self._changed:
            return self._changed.wait_for(lambda: what.broken, patience)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                assert isinstance(key.fileobj, socket.socket)
                if key.fileobj is self._wake:
                    return
                if isinstance(key.data, tuple):
                    self._accept(key.fileobj, *key.data)
                else:
                    self._read(key.fileobj, *key.data)

    def _accept(self, listener: socket.socket, family: str, port: int, proxy: bool) -> None:
        connection, source = listener.accept()
        banner = f"{'captured' if proxy else 'passed'} {port}"
        if proxy:
            banner += f" {original_destination(connection, family)}"
        connection.setblocking(False)
        conversation = Conversation(connection)
        with self._changed:
            self.accepted[source[:2]] = conversation
            self._conversations.append(conversation)
            self._changed.notify_all()
        self._selector.register(connection, selectors.EVENT_READ, [conversation, banner.encode()])

    def _read(self, connection: socket.socket, conversation: Conversation, banner: bytes) -> None:
        try:
            data = connection.recv(4096)
        except OSError:
            data = b""
        with self._changed:
            if not data:
                conversation.broken = True
                self._selector.unregister(connection)
            elif not conversation.received:
                with contextlib.suppress(OSError):
                    connection.send(banner)
            conversation.received += data
            self._changed.notify_all()


def original_destination(connection: socket.socket, family: str) -> str:
    """Where the client wanted to go, as the kernel's connection tracking remembers it."""
    if family == "ipv4":
        raw = connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        return f"{socket.inet_ntop(socket.AF_INET, raw[4:8])}:{struct.unpack('!H', raw[2:4])[0]}"
    raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
    return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{struct.unpack('!H', raw[2:4])[0]}"


def place(family: str, address: str, port: int) -> str:
    """An address and port as the listeners print it."""
    return f"{address}:{port}" if family == "ipv4" else f"[{address}]:{port}"


def client(host: Host, family: str, mark: int = 0) -> socket.socket:
    """A TCP socket on ``host`` that carries ``mark``."""
    with host.inside():
        sock = socket.socket(FAMILIES[family], socket.SOCK_STREAM)
    if mark:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    return sock


def outcome(sock: socket.socket, address: str, port: int) -> str:
    """Connect, speak, and return the answer, ``reset``, or ``silence``; the socket is closed."""
    with sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect((address, port))
            sock.send(b"hello")
            return sock.recv(200).decode() or "closed"
        except (ConnectionResetError, ConnectionRefusedError, BrokenPipeError):
            return "reset"
        except TimeoutError:
            return "silence"


@contextlib.contextmanager
def held(
    responder: Responder, sock: socket.socket, address: str, port: int
) -> Iterator[tuple[socket.socket, Conversation]]:
    """A connection with both its ends, established and spoken over before anything else happens."""
    with sock:
        sock.settimeout(PATIENCE)
        sock.connect((address, port))
        sock.send(b"hello")
        assert sock.recv(200).decode() == f"passed {port}"
        yield sock, responder.conversation(sock.getsockname()[:2])


def ends(sock: socket.socket) -> bool:
    """Speak until the connection breaks; False if it lives on for ``PATIENCE`` seconds."""
    end = time.monotonic() + PATIENCE
    sock.settimeout(0.02)
    while time.monotonic() < end:
        try:
            sock.send(SECRET)
            if sock.recv(4096) == b"":
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False
