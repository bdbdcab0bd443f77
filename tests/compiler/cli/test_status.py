"""How an instance stands, in words; what the sockets of others, of the dead and of the silent become."""

from __future__ import annotations

import http.server
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tng_compiler.cli import status as module
from tng_compiler.cli.exits import Exit
from tng_compiler.cli.status import look, run_status
from tng_compiler.cli.status_text import connections_text, status_text
from tng_schema import contract

DURATIONS = {"buckets": [0, 0, 4], "seconds": 0.02}
ENTRY: dict[str, Any] = {
    "entry": "/add_egress/0",
    "role": "egress",
    "captures": ["tcp dport 8080"],
    "listening": ["0.0.0.0:16001"],
    "trust": {
        "attests": {"model": "background_check", "agent": "/run/aa.sock"},
        "verifies": {"model": "passport", "policy_ids": ["default"], "service": None, "pinned": ["/etc/tng/ca.pem"]},
    },
    "certificate": {"not_after": "2026-11-25T12:00:00+00:00", "seconds_left": 43200.0, "refusal": None, "advice": None},
    "opened": 4,
    "open": 1,
    "closed": {"plain_eof": 3},
    "refused": {"RA-X": 2},
    "refused_last_hour": {"RA-X": 2},
    "bytes_sent": 1536,
    "bytes_received": 3 << 20,
    "handshakes": DURATIONS,
    "verdicts": {"kept_now": 2, "asked": 5, "refused": 2, "kept": 1, "waited": DURATIONS},
}
SAID: dict[str, Any] = {
    "instance": "tng",
    "state": "serving",
    "since": "2026-11-24T11:58:30+00:00",
    "pid": 77,
    "version": "0.1.0",
    "config_sha256": "2dbd5cff1299e2de",
    "document": "web.json",
    "judge": 78,
    "workers": {"wanted": 2, "alive": 2},
    "rates": {"connections": 1.5, "bytes_sent": 10.0, "bytes_received": 2048.0},
    "log_lines_dropped": 0,
    "pending": [],
    "problems": [],
    "rules": {"in_place": True, "table": True, "guard": True, "drift": [], "changed_by_others": 0},
    "advice": {"RA-X": "Do something."},
    "entries": [ENTRY],
}
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_an_instance_in_words() -> None:
    assert status_text(SAID, NOW) == [
        "tng: serving, for 1 min 30 s (since 2026-11-24 11:58:30 UTC), process 77, tng 0.1.0",
        "  document     web.json (2dbd5cff1299), rules in place",
        "  processes    2 of 2 workers, judge 78",
        "  last minute  1.5 connections/s, 10 B/s sent, 2.0 KiB/s received",
        "",
        "  /add_egress/0 (egress)",
        "    captures     tcp dport 8080",
        "    listens      0.0.0.0:16001",
        "    proves       itself by background_check, agent /run/aa.sock",
        "    demands      passport of the peer, by /etc/tng/ca.pem, policies default",
        "    certificate  until 2026-11-25 12:00:00 UTC (12 h left)",
        "    verdicts     2 kept; asked for 5 times, 2 of them refused (5 ms on average); 1 from memory",
        "    connections  1 open, 4 opened (5 ms on average), 3 closed (plain_eof 3), 2 refused",
        "    payload      1.5 KiB sent, 3.0 MiB received",
        "    refused      RA-X 2 in the last hour: Do something.",
    ]


def test_what_keeps_it_from_being_healthy_comes_last() -> None:
    drift = ["chain ingress_0: 'tcp dport 8080 drop' added"]
    certificate = {**ENTRY["certificate"], "refusal": "RA-AGENT", "advice": "Look.", "seconds_left": 0.0}
    said = {
        **SAID,
        "judge": None,
        "rules": {**SAID["rules"], "in_place": False, "drift": drift},
        "problems": ["it is broken"],
        "pending": ["it waits"],
        "entries": [{**ENTRY, "certificate": certificate}],
    }
    lines = status_text(said, NOW)
    assert lines[-6:] == [
        "  what differs from what was applied:",
        f"    {drift[0]}",
        "",
        "pending: it waits",
        "",
        "degraded: it is broken",
    ]
    assert "    certificate  ended 2026-11-25 12:00:00 UTC; not renewed: RA-AGENT: Look." in lines
    assert "  processes    2 of 2 workers, no judge" in lines


def test_open_connections_as_a_table() -> None:
    one = {
        "entry": "/add_egress/0",
        "src": "10.0.0.1:5",
        "dst": None,
        "leg": "10.0.0.1:5",
        "duration": 75,
        "bytes_sent": 0,
        "bytes_received": 2048,
        "verdict": "default",
        "peer": "ab" * 32,
    }
    assert connections_text("tng.4026.77.status", {"total": 3, "connections": [one]}) == [
        "tng: 3 open",
        "  ENTRY          SOURCE      DESTINATION  LEG         OPEN FOR    SENT  RECEIVED  VERDICT  PEER",
        "  /add_egress/0  10.0.0.1:5  -            10.0.0.1:5  1 min 15 s  0 B   2.0 KiB   default  abababababababab",
        "  and 2 younger ones",
    ]


class _Server(http.server.HTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        socket.socket.bind(self.socket, self.server_address)
        self.server_name, self.server_port = "localhost", 0


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(contract, "RUN_DIRECTORY", str(tmp_path))
    return tmp_path


@pytest.fixture
def answers(directory: Path) -> Iterator[dict[str, tuple[int, bytes]]]:
    """Answers by path of an instance in ``directory``."""
    known = {"/status/": (200, json.dumps(SAID).encode())}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = known[self.path]
            self.send_response(code)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

        def address_string(self) -> str:
            return "-"

    with _Server(str(directory / "tng.4026.77.status"), Handler) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield known
        server.shutdown()
        thread.join()


def run(**options: bool) -> Exit:
    return run_status(None, **({"as_json": False, "watch": False, "connections": False} | options))


def test_exit_codes(answers: dict[str, tuple[int, bytes]], capsys: pytest.CaptureFixture[str], directory: Path) -> None:
    assert run() == Exit.CLEAN
    answers["/status/"] = 200, json.dumps({**SAID, "problems": ["no judge"]}).encode()
    capsys.readouterr()
    assert run(as_json=True) == Exit.FINDINGS
    assert json.loads(capsys.readouterr().out)["exit"] == 1
    answers["/status/"] = 200, json.dumps({**SAID, "state": "starting", "pending": ["a certificate"]}).encode()
    assert run() == Exit.FINDINGS
    answers["/status/"] = 503, b"the supervisor does not answer\n"
    assert run() == Exit.FINDINGS
    assert "the supervisor does not answer" in capsys.readouterr().out
    answers["/status/"] = 200, b"nonsense"
    assert run() == Exit.FINDINGS
    assert [each.said for each in look(directory, "tng", "/status/")] == [None]
    assert look(directory, "other", "/status/") == []
    (directory / "tng_tng1.4026.77.status").symlink_to(directory / "tng.4026.77.status")
    for name in ("tng1", "tng_tng1"):
        assert len(look(directory, name, "/status/")) == 1


def test_sockets_of_the_dead_are_no_instances(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(directory / "tng.4026.1.status"))
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == Exit.HOST_NOT_READY
    assert "runs on this host" in capsys.readouterr().err
    assert run(as_json=True) == Exit.HOST_NOT_READY
    assert json.loads(capsys.readouterr().out) == {"instances": [], "exit": 3}
    assert module.look(directory / "nothing", None, "/status/") == []
