"""Lines as entries of systemd's journal, with a field for each word, when standard error is the journal.

systemd names the journal's stream in JOURNAL_STREAM (systemd.exec(5)): device and inode of what standard error is,
unless somebody has redirected it. Then entries go to the journal's socket in its own protocol, a datagram each
(https://systemd.io/JOURNAL_NATIVE_PROTOCOL/), and nobody waits: an entry that finds no room goes the way of all lines.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")
# syslog(3), by the names of our levels.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def is_standard_error() -> bool:
    """Whether standard error is the journal."""
    try:
        status = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Journal:
    """The journal's socket; a child process has one of its own."""

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._pid = 0
        self._sock: socket.socket | None = None

    def send(self, level: str, message: str, pairs: Mapping[str, object]) -> bool:
        """Whether the journal took the entry."""
        data = _field("MESSAGE", message) + _field("PRIORITY", str(_PRIORITIES.get(level, 6)))
        data += _field("SYSLOG_IDENTIFIER", "tng")
        for name, value in pairs.items():
            data += _field("TNG_" + re.sub(r"[^A-Z0-9]", "_", name.upper()), str(value))
        try:
            self._connected().send(data)
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give the socket back."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _connected(self) -> socket.socket:
        # Whoever forks closes what it has inherited; the number may be somebody else's by then.
        if self._sock is None or self._pid != os.getpid():
            if self._sock is not None:
                self._sock.detach()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                sock.connect(str(self._path))
            except OSError:
                sock.close()
                raise
            self._sock, self._pid = sock, os.getpid()
        return self._sock


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
