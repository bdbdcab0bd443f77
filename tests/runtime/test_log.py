"""Log lines that no foreign byte can forge."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from tng_runtime import log

FORGERIES = [
    'x" level=error event=forged',
    "line\nlevel=error event=forged",
    "carriage\rreturn",
    "\x1b[2Jclear",
    "\x7f\x00\x85\u2028\u202e",
    "key=value other=1",
    "",
    "ünïcode",
    "\ud800",
]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root, raising = logging.getLogger(), logging.raiseExceptions
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising


def test_a_line_is_time_level_event_and_the_fields_that_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text", "info")
    log.info("serving", entry="/add_ingress/0", listen="[::1]:15001", port=15001, attested=True, peer=None)
    line = capsys.readouterr().err
    stamp, rest = line.split(" ", 1)
    assert stamp.startswith("time=2")
    assert stamp.endswith("Z")
    assert rest == "level=info event=serving entry=/add_ingress/0 listen=[::1]:15001 port=15001 attested=true\n"


@pytest.mark.parametrize("value", FORGERIES, ids=ascii)
def test_a_foreign_value_stays_one_value_of_one_line(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text")
    log.warning("refused", detail=value, code="RA-X")
    line = capsys.readouterr().err
    assert line.isascii()
    assert line.count("\n") == 1
    assert all(" " <= character < "\x7f" for character in line[:-1])
    assert line.endswith(" code=RA-X\n")
    quoted = line[line.index("detail=") + 7 : line.rindex(" code=")]
    assert quoted.startswith('"') or set(quoted).isdisjoint(' ="')
    assert json.loads(quoted if quoted.startswith('"') else json.dumps(quoted)) == value


@pytest.mark.parametrize("value", FORGERIES, ids=ascii)
def test_json_lines_carry_the_same(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    log.error("refused", detail=value, count=3)
    line = capsys.readouterr().err
    assert line.isascii()
    assert line.count("\n") == 1
    fields = json.loads(line)
    assert (fields["level"], fields["event"], fields["detail"], fields["count"]) == ("error", "refused", value, 3)


def test_bytes_and_long_values_are_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    log.info("seen", raw=b"\xff\n", long="x" * 100_000)
    fields = json.loads(capsys.readouterr().err)
    assert fields["raw"] == "\\xff\n"
    assert len(fields["long"]) == log.MAX_VALUE + 3


def test_a_library_line_keeps_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text")
    logging.getLogger("some.library").warning("two %s\nlines", "words")
    assert ' level=warning event=log logger=some.library message="two words\\nlines"\n' in capsys.readouterr().err


def test_the_environment_chooses_style_and_level(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TNG_LOG_FORMAT", "json")
    monkeypatch.setenv("TNG_LOG_LEVEL", "Warning")
    log.configure()
    log.info("quiet")
    log.warning("loud")
    assert json.loads(capsys.readouterr().err)["event"] == "loud"


def test_an_exception_is_one_field(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text")
    try:
        raise ValueError("a\nb")
    except ValueError:
        logging.getLogger("tng").exception("crash")
    assert capsys.readouterr().err.endswith('exception="ValueError: a\\nb"\n')
