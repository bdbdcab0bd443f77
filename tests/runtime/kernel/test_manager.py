"""What the service manager says of its watchdog."""

from __future__ import annotations

import os

import pytest

from tng_runtime.kernel import manager

OURS = "our process id"


@pytest.mark.parametrize(
    ("text", "meant", "seconds"),
    [
        ("30000000", None, 30.0),
        ("500000", "", 0.5),
        ("30000000", OURS, 30.0),
        ("30000000", "1", None),
        ("0", None, None),
        ("", None, None),
        ("-5", None, None),
        ("\u0663\u0660", None, None),
        ("1" * 400, None, None),
        ("soon", None, None),
    ],
)
def test_it_wants_to_hear_of_us_within_seconds_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, text: str, meant: str | None, seconds: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", text)
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    if meant is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if meant == OURS else meant)
    assert manager.watchdog_seconds() == seconds


def test_no_manager_wants_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    assert manager.watchdog_seconds() is None
