"""What the service manager is told (sd_notify(3)): one datagram, for units of Type=notify or notify-reload."""

from __future__ import annotations

import contextlib
import os
import socket
import time

_MAX_DIGITS = 18


def notify(*words: str) -> None:
    """Send ``words`` (``NAME=value``) if there is a manager that listens; who cannot be told is not told."""
    if address := os.environ.get("NOTIFY_SOCKET"):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(words).encode(), "\0" + address[1:] if address.startswith("@") else address)


def watchdog_seconds() -> float | None:
    """Within which the manager wants to hear of this process again and again; None if it does not (sd_notify(3))."""
    text, meant = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and int(text)):
        return None
    return int(text) / 1e6 if meant in (None, "", str(os.getpid())) else None


def environment_of_heir() -> dict[str, str]:
    """Ours, for the process that takes our place: the manager's watchdog is meant for that one then."""
    return {name: value for name, value in os.environ.items() if name != "WATCHDOG_PID"}


def reloading() -> None:
    """A new process is being started; READY of whoever serves after that ends it."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
