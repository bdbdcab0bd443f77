"""One line per event on standard error: ``key=value`` pairs, or JSON objects.

Values come from peers, services and files. A bare value consists of harmless characters only; everything else
is written as a JSON string in ASCII, so that no foreign byte can end a line, open another pair or reach a
terminal as an escape sequence. Every line has ``time`` (UTC), ``level`` and ``event``; the other keys belong to
the event. Tokens and evidence are never logged.

A process that serves hands its lines over (``hand_over``), so that a stalled reader stops nothing but the log.
"""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Sequence
from typing import Literal, cast

from tng_runtime import journal
from tng_runtime.errors import HostError
from tng_runtime.journal import Journal
from tng_runtime.outlet import Outlet

Style = Literal["text", "json"]

MAX_VALUE = 1024

# The first is the default.
_STYLES = ("text", "json")
_LEVELS = ("info", "debug", "warning", "error")

_BARE = re.compile(r"[A-Za-z0-9_./:@%+,~*\[\]-]+").fullmatch
# Libraries that tell of every request at INFO.
_TALKATIVE = ("httpcore", "asyncio")

Value = str | int | float | bool


def configure(style: Style | None = None, level: str | None = None) -> None:
    """Send all logging to standard error.

    ``style`` and ``level`` (debug, info, warning or error, in any case) default to ``TNG_LOG_FORMAT`` and
    ``TNG_LOG_LEVEL`` of the environment, then to text and info. Raises ``HostError`` (2) for another word. Where
    nobody names a style and standard error is systemd's journal, lines are its entries.
    """
    _OUTPUT.style = cast("Style", _one_of(_STYLES, style, "--log-format", "TNG_LOG_FORMAT"))
    chosen = style is not None or "TNG_LOG_FORMAT" in os.environ
    _OUTPUT.journal = None if chosen or not journal.is_standard_error() else Journal()
    named = _one_of(_LEVELS, level, "--log-level", "TNG_LOG_LEVEL")
    _OUTPUT.threshold = logging.getLevelNamesMapping()[named.upper()]
    logging.basicConfig(level=_OUTPUT.threshold, handlers=[_LibraryLines()], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(_OUTPUT.threshold, logging.WARNING))


def _one_of(words: Sequence[str], given: str | None, option: str, variable: str) -> str:
    """The word that was given, else that of the environment, else the first; an empty variable is none."""
    where, word = (option, given) if given is not None else (variable, os.environ.get(variable) or words[0])
    if word.lower() not in words:
        expected = f"{', '.join(words[:-1])} or {words[-1]}"
        raise HostError(f"{where}: expected {expected}, found {word[:40]!r}", hint=f"{option} {words[0]}", exit_code=2)
    return word.lower()


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


def hand_over() -> None:
    """From now on nothing waits for the reader of standard error; said by each process once it has forked for good."""
    _OUTPUT.outlet.hand_over()


def tells_info() -> bool:
    """Whether whoever reads wants lines at info."""
    return _OUTPUT.threshold <= logging.INFO


def tells_all() -> bool:
    """Whether whoever reads wants every line (debug)."""
    return _OUTPUT.threshold <= logging.DEBUG


def lost() -> int:
    """How many lines this process had to drop since it began."""
    return _OUTPUT.outlet.lost


def close() -> None:
    """Write what is held, within seconds; said at the end of a process."""
    _OUTPUT.outlet.close()


def last_word(text: str) -> None:
    """Write ``text`` and a line's end as they are: what a command says to its user."""
    _OUTPUT.outlet.write(text + "\n")


class _Output:
    """Standard error, line by line. Connections end by the thousand a second: too many for the logging module."""

    def __init__(self) -> None:
        self.style: Style = "text"
        self.threshold = logging.INFO
        self.journal: Journal | None = None
        self._stamped = (0, "")
        self.outlet = Outlet(self._dropped)

    def line(self, created: float, level: str, pairs: dict[str, Value]) -> None:
        """Write one line."""
        if self.journal is not None and self.journal.send(level, f"level={level} {_as_text(pairs)}", pairs):
            return
        self.outlet.write(self._line(created, level, pairs))

    def _line(self, created: float, level: str, pairs: dict[str, Value]) -> str:
        second = int(created)
        # One assignment of both: the outlet's thread comes here too.
        at, stamp = self._stamped
        if second != at:
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._stamped = (second, stamp)
        head: dict[str, Value] = {"time": f"{stamp}.{int(created * 1000) % 1000:03d}Z", "level": level}
        return (_as_text(head | pairs) if self.style == "text" else _quoted(head | pairs)) + "\n"

    def _dropped(self, count: int) -> str:
        return self._line(time.time(), "error", {"event": "log_lines_dropped", "count": count})


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
                # What almost all values are is not worth a call: there are twelve in a line.
                pairs[name] = value if type(value) is str and len(value) <= MAX_VALUE else _plain(value)
        _OUTPUT.line(time.time(), level, pairs)


def _plain(value: object) -> Value:
    if isinstance(value, (bool, int, float)):
        return value
    return _bounded(value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value))


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "..."


def _as_text(pairs: dict[str, Value]) -> str:
    return " ".join(
        [f"{name}={value if type(value) is str and _BARE(value) else _word(value)}" for name, value in pairs.items()]
    )


def _word(value: Value) -> str:
    if type(value) is int:
        return str(value)
    text = value if type(value) is str else json.dumps(value)
    return text if _BARE(text) else _quoted(text)


def _quoted(value: object) -> str:
    # DEL is the one control character that JSON leaves alone.
    return json.dumps(value).replace("\x7f", "\\u007f")
