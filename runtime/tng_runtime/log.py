"""One line per event on standard error: ``key=value`` pairs, or JSON objects.

Values come from peers, services and files. A bare value consists of harmless characters only; everything else
is written as a JSON string in ASCII, so that no foreign byte can end a line, open another pair or reach a
terminal as an escape sequence. Every line has ``time`` (UTC), ``level`` and ``event``; the other keys belong to
the event. Tokens and evidence are never logged.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from typing import Literal

Style = Literal["text", "json"]

MAX_VALUE = 1024

_LOGGER = logging.getLogger("tng")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,~*\[\]-]+")
# Libraries that tell of every request at INFO.
_TALKATIVE = ("httpcore", "asyncio")


def configure(style: Style | None = None, level: str | None = None) -> None:
    """Send all logging to standard error.

    ``style`` and ``level`` (a name of the logging module, in any case) default to ``TNG_LOG_FORMAT`` and
    ``TNG_LOG_LEVEL`` of the environment, then to text and info; a name that is not known counts as the default.
    """
    chosen = style or os.environ.get("TNG_LOG_FORMAT", "text")
    wanted = logging.getLevelNamesMapping().get(
        (level or os.environ.get("TNG_LOG_LEVEL", "info")).upper(), logging.INFO
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if chosen == "json" else _TextFormatter())
    logging.basicConfig(level=wanted, handlers=[handler], force=True)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(max(wanted, logging.WARNING))
    # A reader of the log that went away is no reason to print tracebacks at it.
    logging.raiseExceptions = False


def debug(event: str, /, **fields: object) -> None:
    """Log at debug; see ``info``."""
    _emit(logging.DEBUG, event, fields)


def info(event: str, /, **fields: object) -> None:
    """Log ``event`` (one word) with ``fields``; a field that is None is left out."""
    _emit(logging.INFO, event, fields)


def warning(event: str, /, **fields: object) -> None:
    """Log at warning; see ``info``."""
    _emit(logging.WARNING, event, fields)


def error(event: str, /, **fields: object) -> None:
    """Log at error; see ``info``."""
    _emit(logging.ERROR, event, fields)


def _emit(level: int, event: str, fields: dict[str, object]) -> None:
    if _LOGGER.isEnabledFor(level):
        _LOGGER.log(level, "%s", event, extra={"fields": fields})


def _pairs(record: logging.LogRecord) -> dict[str, str | int | float | bool]:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    pairs: dict[str, str | int | float | bool] = {
        "time": f"{seconds}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
    }
    fields: dict[str, object] | None = getattr(record, "fields", None)
    if fields is None:  # a library's own line
        pairs |= {"event": "log", "logger": record.name, "message": _bounded(record.getMessage())}
    else:
        pairs["event"] = record.getMessage()
        pairs |= {name: _plain(value) for name, value in fields.items() if value is not None}
    if record.exc_info and record.exc_info[1] is not None:
        pairs["exception"] = _bounded(f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
    return pairs


def _plain(value: object) -> str | int | float | bool:
    if isinstance(value, (bool, int, float)):
        return value
    return _bounded(value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value))


def _bounded(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "..."


def _quoted(text: str) -> str:
    # DEL is the one control character that JSON leaves alone.
    return json.dumps(text).replace("\x7f", "\\u007f")


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return " ".join(f"{name}={self._value(value)}" for name, value in _pairs(record).items())

    @staticmethod
    def _value(value: str | float | bool) -> str:
        text = json.dumps(value) if not isinstance(value, str) else value
        return text if _BARE.fullmatch(text) else _quoted(text)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_pairs(record)).replace("\x7f", "\\u007f")
