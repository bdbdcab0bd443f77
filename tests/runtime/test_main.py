"""The command line of the runtime, as a program: its exit codes and its last words. Nothing here needs privileges."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "ingress_no_ra.json"
TNG = str(Path(sys.prefix) / "bin" / "tng")
RUNTIME = str(Path(sys.prefix) / "bin" / "tng-runtime")


@pytest.fixture
def compiled(tmp_path: Path) -> Path:
    subprocess.run([TNG, "compile", str(EXAMPLE), "-o", str(tmp_path)], check=True, capture_output=True, timeout=60)
    return tmp_path


def failing(status: int, *argv: str) -> str:
    done = subprocess.run([RUNTIME, *argv], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("walk",),
        ("run",),
        ("run", "x", "--drain", "-1"),
        ("run", "x", "--drain", "nan"),
        ("run", "x", "--drain", "soon"),
        ("run", "x", "--workers", "0"),
        ("run", "x", "--workers", "1000000"),
        ("--log-format", "xml", "run", "x"),
    ],
    ids=lambda argv: "_".join(argv) or "nothing",
)
def test_a_wrong_command_line_ends_with_2(argv: tuple[str, ...]) -> None:
    assert "usage: tng-runtime" in failing(2, *argv)


def test_a_directory_that_is_not_there_ends_with_1_and_says_how_to_make_it(tmp_path: Path) -> None:
    said = failing(1, "run", str(tmp_path / "nowhere"))
    assert "nowhere/manifest.json" in said
    assert "help: make it with `tng compile" in said


def test_a_ruleset_that_was_changed_ends_with_1(compiled: Path) -> None:
    with (compiled / "ruleset.nft").open("a") as ruleset:
        ruleset.write("# harmless\n")
    assert "ruleset.nft: its SHA-256 is" in failing(1, "run", str(compiled))


def test_a_manifest_that_was_changed_ends_with_1_and_the_member(compiled: Path) -> None:
    manifest = json.loads((compiled / "manifest.json").read_text())
    manifest["entries"][0]["listen_port"] = "15001"
    (compiled / "manifest.json").write_text(json.dumps(manifest))
    assert "/entries/0/listen_port: expected an integer" in failing(1, "run", str(compiled))


def test_the_version_is_told() -> None:
    done = subprocess.run([RUNTIME, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert re.fullmatch(r"tng-runtime 0\.\S+ \(Python 3\.\S+, OpenSSL \S+ of cryptography \S+\)\n", done.stdout)


def test_a_process_that_may_not_execute_what_it_wrote_ends_with_3_and_the_name_of_the_setting(compiled: Path) -> None:
    """What systemd's MemoryDenyWriteExecute=yes does, here by prctl(2), PR_SET_MDWE (Linux 6.3)."""
    script = "assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0; os.execv(sys.argv[1], sys.argv[1:])"
    command = [sys.executable, "-c", f"import ctypes, os, sys; {script}", RUNTIME, "run", str(compiled)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3, done
    assert "MemoryDenyWriteExecute=no" in done.stderr


@pytest.mark.parametrize(
    ("variable", "word", "expected"),
    [
        ("TNG_LOG_LEVEL", "loud", "TNG_LOG_LEVEL: expected info, debug, warning or error, found 'loud'"),
        ("TNG_LOG_FORMAT", "xml", "TNG_LOG_FORMAT: expected text or json, found 'xml'"),
    ],
)
def test_a_wrong_word_in_the_environment_ends_with_2(variable: str, word: str, expected: str) -> None:
    environment = {**os.environ, variable: word}
    done = subprocess.run([RUNTIME, "down"], env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.splitlines()[0]) == (2, f"tng-runtime: {expected}")
    assert "help: " in done.stderr


def test_a_wrong_log_level_ends_with_2() -> None:
    assert "--log-level: expected" in failing(2, "--log-level", "loud", "down")


@pytest.mark.parametrize(
    "which", [("--table", "filter"), ("--table", "tng_guard"), ("--table", "tng;"), ("--instance", "../x")]
)
def test_what_is_no_table_of_an_instance_is_not_taken_down(which: tuple[str, str]) -> None:
    assert "expected the table of an instance" in failing(2, "down", *which)


@pytest.mark.netns
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_that_came_before_a_run_can_answer_ends_it_and_nothing_of_it_is_left(
    compiled: Path, tmp_path: Path, name: str
) -> None:
    """`tng apply` holds them back, so that one never meets an interpreter that only begins."""
    number = getattr(signal, name)
    record = tmp_path / "lib" / "tng" / "0001-20261130T000000Z-000000000000"
    script = f"""
import os, signal, sys
signal.signal({number:d}, signal.SIG_DFL)  # a shell's background job ignores SIGINT
signal.pthread_sigmask(signal.SIG_BLOCK, {{{number:d}}})
os.makedirs({str(record.parent)!r} + "/." + {record.name!r} + f".{{os.getpid()}}")
os.kill(os.getpid(), {number:d})
os.execv(sys.argv[1], sys.argv[1:])
"""
    started = [RUNTIME, "run", f"--record={record}", str(compiled)]
    command = ["unshare", "--net", sys.executable, "-c", script, *started]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "lib").exists()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("--version >/dev/full", 2),
        ("--help >/dev/full", 2),
        ("explain-code NET-DIAL >/dev/full", 2),
        ("run /nowhere 2>/dev/full", 1),
        ("run 2>/dev/full", 2),
    ],
)
def test_what_cannot_be_written_changes_no_exit_code_but_that_of_a_success(command: str, status: int) -> None:
    done = subprocess.run(["sh", "-c", f"{RUNTIME} {command}"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == status, done
    assert "Exception ignored" not in done.stderr
