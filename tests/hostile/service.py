"""An attestation service that answers whatever a test tells it to, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from types import TracebackType

Answer = Callable[[], Iterator[bytes]]


def text(body: str, status: str = "200 OK") -> Answer:
    """A whole answer."""
    data = body.encode("utf-8", "surrogatepass")

    def answer() -> Iterator[bytes]:
        yield f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data

    return answer


def raw(*parts: bytes) -> Answer:
    """These bytes, whatever they are."""
    return lambda: iter(parts)


class Service:
    """Serves on ``address`` in the network of the thread that makes it.

    ``attestation`` and ``certificate`` are the answers; ``calls`` counts requests by path. An answer
    may look at ``asked``, the body of the request, or wait for ``ended``, which is set when the service goes.
    """

    def __init__(self, address: tuple[str, int], certificate: bytes) -> None:
        self.attestation = text("nobody set an answer", "500 No")
        self.certificate = text(certificate.decode())
        self.calls: Counter[str] = Counter()
        self.asked = b""
        self.peers: list[tuple[str, int]] = []
        self.ended = threading.Event()
        self._listener = socket.create_server(address, backlog=512)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: set[socket.socket] = set()
        self._threads[0].start()

    def __enter__(self) -> Service:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        # shutdown(2) wakes the thread that is inside accept(2); close does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _accept(self) -> None:
        while not self.ended.is_set():
            try:
                connection, peer = self._listener.accept()
            except OSError:
                return
            self.peers.append(peer)
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, ValueError):
            data = b""
            while b"\r\n\r\n" not in data:
                if not (more := connection.recv(65536)):
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            size = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")), 0)
            while len(body) < size:
                if not (more := connection.recv(65536)):
                    return
                body += more
            path = head.split(b" ")[1].decode()
            self.calls[path] += 1
            self.asked = body
            for part in (self.certificate if path == "/certificate" else self.attestation)():
                connection.sendall(part)
        self._open.discard(connection)
