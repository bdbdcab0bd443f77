"""Applications that write without a pause while something goes wrong, and what the wire must not show of them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

from tng_demo.lab import Host
from tng_demo.scene import PORT, Wire

MARKER = b"plaintext-of-the-application " * 40


class Senders:
    """Threads on a host that open connections and write into them until they break, then open the next.

    ``pause``: seconds from one write to the next.
    """

    def __init__(self, host: Host, target: str, count: int = 4, patience: float = 40, pause: float = 0) -> None:
        self._host, self._target, self._patience, self._pause = host, target, patience, pause
        self._changed = threading.Condition()
        self._writes = self._failures = self._open = 0
        self._opening = self._running = True
        self._threads = [threading.Thread(target=self._send) for _ in range(count)]

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._opening = self._running = False
        for thread in self._threads:
            thread.join(60)

    @property
    def writes(self) -> int:
        """How many succeeded so far."""
        return self._writes

    @property
    def failures(self) -> int:
        """How many connections could not be made, or broke."""
        return self._failures

    def open_no_more(self) -> None:
        self._opening = False

    def wait_for_writes(self, count: int) -> None:
        self._wait(lambda: self._writes >= count)

    def wait_for_failures(self, count: int) -> None:
        self._wait(lambda: self._failures >= count)

    def wait_until_all_ended(self) -> None:
        self._wait(lambda: self._open == 0)

    def _wait(self, done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(done, 60), (self._writes, self._failures, self._open)

    def _send(self) -> None:
        with self._host.inside():
            while self._opening:
                try:
                    with socket.create_connection((self._target, PORT), timeout=self._patience) as connection:
                        self._count(opened=1)
                        try:
                            while self._running:
                                connection.sendall(MARKER)
                                self._count(writes=1)
                                time.sleep(self._pause)
                        finally:
                            self._count(opened=-1)
                except OSError:
                    self._count(failures=1)

    def _count(self, writes: int = 0, failures: int = 0, opened: int = 0) -> None:
        with self._changed:
            self._writes += writes
            self._failures += failures
            self._open += opened
            self._changed.notify_all()


def assert_no_plaintext(wire: Wire, *parts: bytes) -> None:
    towards = [segment for segment in wire.segments if PORT in (segment.source_port, segment.destination_port)]
    for segment in towards:
        assert not any(part in segment.payload for part in parts), segment
