"""What the service manager is told (sd_notify(3)): one datagram, for units of Type=notify or notify-reload."""

from __future__ import annotations

import contextlib
import os
import socket
import time


def notify(*words: str) -> None:
    """Send ``words`` (``NAME=value``) if there is a manager that listens; who cannot be told is not told."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(words).encode(), "\0" + address[1:] if address.startswith("@") else address)


def watchdog_seconds() -> float | None:
    """Between two signs of life: half of what the manager allows (sd_watchdog_enabled(3)); None if it wants none.

    WATCHDOG_PID is left alone: it names the process that was started first, not those that took over from it.
    """
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2_000_000 if microseconds.isdecimal() and int(microseconds) else None


def reloading() -> None:
    """A new process is being started; READY of whoever serves after that ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
