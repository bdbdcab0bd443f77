"""What stands at the other end of a test: two ends of a connection, and a service that answers once."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from tng_demo.lab import Host


@contextlib.contextmanager
def loopback() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two connected sockets, the first non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    near.setblocking(False)
    with near, far:
        yield near, far


@contextlib.contextmanager
def answering(host: Host, port: int, answer: Callable[[bytes, str], bytes]) -> Iterator[None]:
    """A service that answers the first bytes of each connection, by who sent them, and ends it."""
    with host.inside():
        listener = socket.create_server(("0.0.0.0", port), backlog=256)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, source = listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(60)
                    if data := connection.recv(100):
                        connection.sendall(answer(data, source[0]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
