"""One line per event on standard error: ``key=value`` pairs, or JSON objects.

Values come from peers, services and files. A bare value consists of harmless characters only; everything else
is written as a JSON string in ASCII, so that no foreign byte can end a line, open another pair or reach a
terminal as an escape sequence. Every line has ``time`` (UTC), ``level`` and ``event``; the other keys belong to
the event. Tokens and evidence are never logged.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import time
from typing import Literal

Style = Literal["text", "json"]

MAX_VALUE = 1024

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,~*\[\]-]+").fullmatch
# Libraries that tell of every request at INFO.
_TALKATIVE = ("httpcore", "asyncio")

Value = str | int | float | bool


def configure(style: Style | None = None, level: str | None = None) -> None:
    """Send all logging to standard error.

    ``style`` and ``level`` (a name of the logging module, in any case) default to ``TNG_LOG_FORMAT`` and
    ``TNG_LOG_LEVEL`` of the environment, then to text and info; a name that is not known counts as the default.
    """
    _OUTPUT.style = style or ("json" if os.environ.get("TNG_LOG_FORMAT") == "json" else "text")
    _OUTPUT.threshold = logging.getLevelNamesMapping().get(
        (level or os.environ.get("TNG_LOG_LEVEL", "info")).upper(), logging.INFO
    )
    logging.basicConfig(level=_OUTPUT.threshold, handlers=[_LibraryLines()], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(_OUTPUT.threshold, logging.WARNING))


def debug(event: str, /, **fields: object) -> None:
    """Log at debug; see ``info``."""
    _emit(logging.DEBUG, "debug", event, fields)


def info(event: str, /, **fields: object) -> None:
    """Log ``event`` (one word) with ``fields``; a field that is None is left out."""
    _emit(logging.INFO, "info", event, fields)


def warning(event: str, /, **fields: object) -> None:
    """Log at warning; see ``info``."""
    _emit(logging.WARNING, "warning", event, fields)


def error(event: str, /, **fields: object) -> None:
    """Log at error; see ``info``."""
    _emit(logging.ERROR, "error", event, fields)


class _Output:
    """Standard error, line by line. Connections end by the thousand a second: too many for the logging module."""

    def __init__(self) -> None:
        self.style: Style = "text"
        self.threshold = logging.INFO
        self._second = 0
        self._stamp = ""

    def line(self, created: float, level: str, pairs: dict[str, Value]) -> None:
        """Write one line; a reader of the log that went away is no reason to fail."""
        second = int(created)
        if second != self._second:
            self._second, self._stamp = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        head: dict[str, Value] = {"time": f"{self._stamp}.{int(created * 1000) % 1000:03d}Z", "level": level}
        text = _as_text(head | pairs) if self.style == "text" else _quoted(head | pairs)
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text + "\n")
            sys.stderr.flush()


class _LibraryLines(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        pairs: dict[str, Value] = {
            "event": "log",
            "logger": record.name,
            "message": _bounded(record.getMessage()),
        }
        if record.exc_info and record.exc_info[1] is not None:
            pairs["exception"] = _bounded(f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
        _OUTPUT.line(record.created, record.levelname.lower(), pairs)


_OUTPUT = _Output()


def _emit(severity: int, level: str, event: str, fields: dict[str, object]) -> None:
    if severity >= _OUTPUT.threshold:
        pairs: dict[str, Value] = {"event": event}
        for name, value in fields.items():
            if value is not None:
                pairs[name] = _plain(value)
        _OUTPUT.line(time.time(), level, pairs)


def _plain(value: object) -> Value:
    if isinstance(value, (bool, int, float)):
        return value
    return _bounded(value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value))


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "..."


def _as_text(pairs: dict[str, Value]) -> str:
    words = []
    for name, value in pairs.items():
        text = value if isinstance(value, str) else json.dumps(value)
        words.append(f"{name}={text if _BARE(text) else _quoted(text)}")
    return " ".join(words)


def _quoted(value: object) -> str:
    # DEL is the one control character that JSON leaves alone.
    return json.dumps(value).replace("\x7f", "\\u007f")
